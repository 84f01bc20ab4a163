-- The table with where both ends are, in the order of columns that analysts know.
CREATE VIEW {schema}.{table}_joined AS
SELECT test.id, test.date, test.archiver, places.server, places.client, test.* EXCLUDE (id, date, archiver)
FROM {schema}_intermediate.{table}_once AS test LEFT JOIN {schema}_intermediate.places AS places USING (id)
