-- Where the two ends of a connection are, under the dates of the tests that may ask: a test of one side of midnight finds
-- the annotation of the other.
CREATE VIEW {schema}_intermediate.places AS
SELECT date, id, server, client FROM {schema}_intermediate.annotation2_once WHERE {is_id}
UNION ALL
SELECT date, id, server, client FROM {schema}_intermediate.annotation2_eve WHERE {is_id}
UNION ALL
SELECT date, id, server, client FROM {schema}_intermediate.annotation2_morrow WHERE {is_id}
