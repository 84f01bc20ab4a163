-- The table as it is.
CREATE VIEW {schema}.{table} AS
SELECT * EXCLUDE (filename, file_row_number) FROM {schema}_intermediate.{table}_placed
