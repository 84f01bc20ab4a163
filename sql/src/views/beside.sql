-- What a sidecar recorded of each connection, under the dates of the tests that may ask: that of the record and its neighbours.
CREATE VIEW {schema}_intermediate.{part}_beside AS
WITH record AS NOT MATERIALIZED (
    SELECT * FROM {schema}_intermediate.{part}_once WHERE {is_id}
    UNION ALL
    SELECT * FROM {schema}_intermediate.{part}_eve WHERE {is_id}
    UNION ALL
    SELECT * FROM {schema}_intermediate.{part}_morrow WHERE {is_id}
)
SELECT id, date, list({row} ORDER BY {order}) AS {part} FROM record GROUP BY id, date
