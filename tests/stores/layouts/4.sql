-- A file of layout 4, as `iterdump` writes it; made by the Linkspan of that time.
PRAGMA user_version = 4;
CREATE TABLE events (
        session_id TEXT NOT NULL,
        stream_id  TEXT NOT NULL,
        sequence   INTEGER NOT NULL,
        message    BLOB NOT NULL,
        PRIMARY KEY (session_id, stream_id, sequence),
        FOREIGN KEY (session_id, stream_id) REFERENCES streams ON DELETE CASCADE
    ) WITHOUT ROWID;
INSERT INTO "events" VALUES('a','done',1,X'7B226E223A317D');
INSERT INTO "events" VALUES('a','done',2,X'7B226E223A327D');
INSERT INTO "events" VALUES('a','open',1,X'7B226E223A317D');
INSERT INTO "events" VALUES('c','done',1,X'00FF');
CREATE TABLE nodes (
        node          TEXT PRIMARY KEY,
        boot_id       TEXT NOT NULL,
        until_nanos   INTEGER NOT NULL,
        lease_nanos   INTEGER NOT NULL,
        live_sessions INTEGER NOT NULL
    ) WITHOUT ROWID;
CREATE TABLE principals (
        issuer        TEXT NOT NULL,
        subject       TEXT NOT NULL,
        resource      TEXT NOT NULL,
        open_sessions INTEGER NOT NULL,
        PRIMARY KEY (issuer, subject, resource)
    ) WITHOUT ROWID;
INSERT INTO "principals" VALUES('https://issuer.example','ada','https://mcp.example',2);
INSERT INTO "principals" VALUES('https://issuer.example','bob','https://mcp.example',1);
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
    , owner TEXT NOT NULL DEFAULT '', epoch INTEGER NOT NULL DEFAULT 1, version INTEGER NOT NULL DEFAULT 1, closed TEXT, expires_millis INTEGER NOT NULL DEFAULT 0, log_level TEXT NOT NULL DEFAULT '', subscriptions TEXT NOT NULL DEFAULT '[]', scratch TEXT NOT NULL DEFAULT '', log_bytes INTEGER NOT NULL DEFAULT 0, storage_bytes INTEGER NOT NULL DEFAULT 0, finished_streams INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
INSERT INTO "sessions" VALUES('a',1,'https://issuer.example','ada','https://mcp.example','2025-11-25','{"clientInfo":{"name":"é"}}',1,1700000000000,1700000005000,'',1,1,NULL,1700086405000,'','[]','',21,0,1);
INSERT INTO "sessions" VALUES('b',1,'https://issuer.example','ada','https://mcp.example',NULL,NULL,0,1700000000001,1700000000001,'',1,1,NULL,1700086400001,'','[]','',0,0,0);
INSERT INTO "sessions" VALUES('c',1,'https://issuer.example','bob','https://mcp.example','2025-06-18','{}',0,1700000000002,1700000009000,'',1,1,NULL,1700086409000,'','[]','',2,0,1);
CREATE TABLE storage (
        session_id TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
        name       TEXT NOT NULL,
        value      BLOB NOT NULL,
        PRIMARY KEY (session_id, name)
    ) WITHOUT ROWID;
CREATE TABLE streams (
        session_id     TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
        stream_id      TEXT NOT NULL,
        request_id     TEXT NOT NULL,
        traceparent    TEXT NOT NULL,
        created_millis INTEGER NOT NULL,
        finished       INTEGER NOT NULL DEFAULT 0,
        last_sequence  INTEGER NOT NULL DEFAULT 0,
        first_sequence INTEGER NOT NULL DEFAULT 1,
        bytes          INTEGER NOT NULL DEFAULT 0, request_key TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (session_id, stream_id)
    ) WITHOUT ROWID;
INSERT INTO "streams" VALUES('a','done','1','00-trace',1700000000007,1,2,1,14,'');
INSERT INTO "streams" VALUES('a','listening','null','00-trace',1700000000007,0,0,1,0,'');
INSERT INTO "streams" VALUES('a','open','"x"','00-trace',1700000000007,0,1,1,7,'');
INSERT INTO "streams" VALUES('c','done','1','',1700000000007,1,1,1,2,'');
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
CREATE INDEX tasks_by_principal ON tasks (issuer, subject, resource);
CREATE INDEX tasks_unfinished ON tasks (runner) WHERE NOT finished;
CREATE INDEX tasks_by_expiry ON tasks (expires_millis);
CREATE INDEX sessions_by_creation ON sessions (created_millis, session_id)
        WHERE closed IS NULL;
CREATE INDEX sessions_to_close ON sessions (expires_millis) WHERE closed IS NULL;
CREATE INDEX sessions_to_remove ON sessions (expires_millis) WHERE closed IS NOT NULL;
CREATE INDEX streams_by_request ON streams (session_id, request_key)
        WHERE request_key != '';
CREATE INDEX streams_finished ON streams (session_id, created_millis) WHERE finished;
