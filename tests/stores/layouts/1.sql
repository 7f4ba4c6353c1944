-- A file of layout 1, as `iterdump` writes it; made by the Linkspan of that time.
PRAGMA user_version = 1;
CREATE TABLE sessions (
        session_id         TEXT PRIMARY KEY,
        record_version     INTEGER NOT NULL,
        issuer             TEXT NOT NULL,
        subject            TEXT NOT NULL,
        resource           TEXT NOT NULL,
        protocol_version   TEXT,
        initialize_params  TEXT,
        initialized        INTEGER NOT NULL DEFAULT 0,
        created_millis     INTEGER NOT NULL,
        last_active_millis INTEGER NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "sessions" VALUES('a',1,'https://issuer.example','ada','https://mcp.example','2025-11-25','{"clientInfo":{"name":"é"}}',1,1700000000000,1700000005000);
INSERT INTO "sessions" VALUES('b',1,'https://issuer.example','ada','https://mcp.example',NULL,NULL,0,1700000000001,1700000000001);
INSERT INTO "sessions" VALUES('c',1,'https://issuer.example','bob','https://mcp.example','2025-06-18','{}',0,1700000000002,1700000009000);
CREATE INDEX sessions_by_creation ON sessions (created_millis, session_id);
