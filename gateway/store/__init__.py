"""Where state is kept: the engine, the unit of work, the tables' base and the migrations."""
