-- A file of layout 2, as `iterdump` writes it; made by the Linkspan of that time.
PRAGMA user_version = 2;
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
CREATE TABLE task_runners (
        runner             TEXT PRIMARY KEY,
        alive_until_millis INTEGER NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "task_runners" VALUES('4f0c',4000000000000);
CREATE TABLE tasks (
        task_id              TEXT PRIMARY KEY,
        record_version       INTEGER NOT NULL,
        issuer               TEXT NOT NULL,
        subject              TEXT NOT NULL,
        resource             TEXT NOT NULL,
        tool                 TEXT NOT NULL,
        runner               TEXT NOT NULL,
        status               TEXT NOT NULL,
        finished             INTEGER NOT NULL,
        message              TEXT,
        questions            TEXT NOT NULL,
        asked                INTEGER NOT NULL,
        outcome              TEXT,
        created_millis       INTEGER NOT NULL,
        updated_millis       INTEGER NOT NULL,
        expires_millis       INTEGER NOT NULL,
        poll_interval_millis INTEGER NOT NULL,
        version              INTEGER NOT NULL
    );
INSERT INTO "tasks" VALUES('task',1,'https://issuer.example','ada','https://mcp.example','dig','4f0c','input_required',0,'half way','[["1-name", "{}", null]]',1,NULL,1700000000000,1700000000010,4000000000000,500,1);
CREATE INDEX sessions_by_creation ON sessions (created_millis, session_id);
CREATE INDEX tasks_by_principal ON tasks (issuer, subject, resource);
CREATE INDEX tasks_unfinished ON tasks (runner) WHERE NOT finished;
CREATE INDEX tasks_by_expiry ON tasks (expires_millis);
