// The macro by which benchmarks/opens.py asks ImageJ what it finds in a TIFF file; prints JSON.
// Argument: the file, then the voxels to read, z y x of each: "mito.tif|9 22 19 0 0 0".
words = split(getArgument(), "|");
open(words[0]);
getDimensions(width, height, channels, slices, frames);
getVoxelSize(x, y, z, unit);
numbers = split(words[1], " ");
values = "";
for (i = 0; i < numbers.length; i += 3) {
    setSlice(parseInt(numbers[i]) + 1);
    if (i > 0) values += ", ";
    values += "" + getPixel(parseInt(numbers[i + 2]), parseInt(numbers[i + 1]));
}
dimensions = "" + width + ", " + height + ", " + channels + ", " + slices + ", " + frames;
size = d2s(x, 6) + ", " + d2s(y, 6) + ", " + d2s(z, 6);
print("{\"version\": \"" + getVersion() + "\", \"dimensions\": [" + dimensions + "], \"voxel_size\": [" + size
    + "], \"unit\": \"" + unit + "\", \"values\": [" + values + "]}");
