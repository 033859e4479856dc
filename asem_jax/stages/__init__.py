"""One file per thing that a user can ask for; each ends in `run(config, workdir)`, where the config stops."""
