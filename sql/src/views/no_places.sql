-- Nothing is known of where connections end; the columns are those of an annotation.
CREATE VIEW {schema}_intermediate.places AS
SELECT
    NULL::DATE AS date,
    NULL::VARCHAR AS id,
    NULL::STRUCT(Site VARCHAR, Machine VARCHAR, Geo {geo}, Network {network}) AS server,
    NULL::STRUCT(Geo {geo}, Network {network}) AS client
WHERE false
