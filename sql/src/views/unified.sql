-- The tests of one direction as analysts know them.
CREATE VIEW ndt.unified_{name} AS
WITH extended AS (
    {lists}
), judged AS (
    SELECT *, coalesce(
            filter.IsComplete AND filter.IsProduction AND NOT filter.IsError AND NOT filter.IsOAM
            AND NOT filter.IsPlatformAnomaly AND NOT filter.IsSmall AND NOT filter.IsLong AND NOT filter._IsRFC1918,
            false) AS base_valid,
        regexp_extract(archiver.ArchiveURL, '-(mlab[1-4]d?)-([a-z]{3}[0-9tc]{2})-', ['machine', 'site']) AS host
    FROM extended
)
SELECT id, date,
    {
        UUID: id,
        TestTime: test_time,
        Direction: '{direction}',
        CongestionControl: congestion_control,
        MeanThroughputMbps: mbps,
        MinRTT: min_rtt,
        LossRate: loss_rate
    } AS a,
    {
        View: view,
        Protocol: protocol,
        ClientMetadata: client_metadata,
        ServerMetadata: server_metadata,
        Tables: [archiver]
    } AS metadata,
    {IP: client_ip, Port: client_port, Geo: places.client.Geo, Network: places.client.Network} AS client,
    {
        IP: server_ip,
        Port: server_port,
        Site: coalesce(places.server.Site, host.site),
        Machine: coalesce(places.server.Machine, host.machine),
        Geo: places.server.Geo,
        Network: places.server.Network
    } AS server,
    base_valid AND (NOT filter.IsShort OR filter.IsEarlyExit) AS IsValidBest,
    base_valid AND NOT filter.IsShort AS IsValid2023,
    coalesce(base_valid AND NOT filter.IsShort AND (filter._IsCongested OR filter._IsBloated), false) AS IsValid2021
FROM judged LEFT JOIN ndt_intermediate.places AS places USING (id, date)
