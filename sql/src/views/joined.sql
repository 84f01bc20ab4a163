-- The table with where both ends are, in the order of columns that analysts know.
CREATE VIEW {schema}.{table}_joined AS
SELECT test.id, test.date, {archiver}places.server, places.client, test.* EXCLUDE ({archiver}id, date)
FROM {schema}_intermediate.{table}_once AS test
LEFT JOIN {schema}_intermediate.places AS places ON test.id::VARCHAR = places.id AND test.date = places.date
