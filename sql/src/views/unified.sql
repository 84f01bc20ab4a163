-- The tests of one direction as analysts know them.
CREATE VIEW ndt.unified_{name} AS
SELECT id, date,
    {
        UUID: id,
        TestTime: a.TestTime,
        Direction: '{direction}',
        CongestionControl: {congestion_control},
        MeanThroughputMbps: a.MeanThroughputMbps,
        MinRTT: a.MinRTT,
        LossRate: {loss_rate}
    } AS a,
    {
        View: 'ndt7_{name}',
        Protocol: 'ndt7-' || CASE WHEN contains(raw.ClientIP, ':') THEN 'IPv6' ELSE 'IPv4' END || '-'
            || CASE raw.ServerPort WHEN 443 THEN 'WSS' WHEN 80 THEN 'WS' ELSE 'unknown' END,
        ClientMetadata: measured.ClientMetadata,
        ServerMetadata: measured.ServerMetadata,
        Tables: [archiver]
    } AS metadata,
    {IP: raw.ClientIP, Port: raw.ClientPort} AS client,
    {IP: raw.ServerIP, Port: raw.ServerPort, Site: host.site, Machine: host.machine} AS server,
    base_valid AND (NOT filter.IsShort OR filter.IsEarlyExit) AS IsValidBest,
    base_valid AND NOT filter.IsShort AS IsValid2023,
    coalesce(base_valid AND NOT filter.IsShort AND (filter._IsCongested OR filter._IsBloated), false) AS IsValid2021
FROM ndt_intermediate.extended_ndt7_{name}
