"""One page that shows what was run and what came out: tables, curves, overlay pictures."""
