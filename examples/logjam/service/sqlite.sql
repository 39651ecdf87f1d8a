-- The keys are the ids that Fly.io sends. Names and e-mail addresses may be empty,
-- may change, and need not be unique.
CREATE TABLE IF NOT EXISTS organizations (
	id    TEXT PRIMARY KEY,
	name  TEXT NOT NULL,
	email TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS users (
	id    TEXT PRIMARY KEY,
	email TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS memberships (
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	user_id         TEXT NOT NULL REFERENCES users (id),
	role            TEXT NOT NULL,
	PRIMARY KEY (organization_id, user_id)
) STRICT;
CREATE TABLE IF NOT EXISTS streams (
	id              TEXT PRIMARY KEY,
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	name            TEXT NOT NULL,
	plan            TEXT NOT NULL,
	primary_region  TEXT NOT NULL,
	read_regions    TEXT NOT NULL, -- a JSON array
	ip_address      TEXT NOT NULL,
	sealed_password BLOB NOT NULL,
	created_at      INTEGER NOT NULL DEFAULT (unixepoch())
) STRICT;
CREATE INDEX IF NOT EXISTS streams_by_organization ON streams (organization_id);
CREATE TABLE IF NOT EXISTS deprovisioned (
	id TEXT PRIMARY KEY,
	at INTEGER NOT NULL DEFAULT (unixepoch())
) STRICT;
CREATE TABLE IF NOT EXISTS key_check (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	sealed BLOB NOT NULL
) STRICT;

-- The number of changes to each stream. The row stays when the stream is deleted.
CREATE TABLE IF NOT EXISTS revisions (
	stream_id TEXT PRIMARY KEY,
	revision  INTEGER NOT NULL
) STRICT;

-- The machines that streams name. A transaction locks the row of a machine before it
-- compares the organizations of the machine's streams.
CREATE TABLE IF NOT EXISTS machines (
	id TEXT PRIMARY KEY
) STRICT;

-- The dashboard's history and sessions.
CREATE TABLE IF NOT EXISTS activities (
	id              INTEGER PRIMARY KEY,
	at              INTEGER NOT NULL DEFAULT (unixepoch()),
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	stream_id       TEXT NOT NULL, -- the stream may have been deleted
	stream_name     TEXT NOT NULL,
	what            TEXT NOT NULL,
	who             TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS activities_by_organization ON activities (organization_id, id);
CREATE TABLE IF NOT EXISTS sessions (
	hash            BLOB PRIMARY KEY, -- SHA-256 of the session id
	user_id         TEXT NOT NULL REFERENCES users (id),
	user_name       TEXT NOT NULL,
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	expires_at      INTEGER NOT NULL
) STRICT;

-- The events received, to detect duplicates.
CREATE TABLE IF NOT EXISTS events (
	source TEXT NOT NULL,
	id     TEXT NOT NULL,
	at     INTEGER NOT NULL DEFAULT (unixepoch()),
	PRIMARY KEY (source, id)
) STRICT;
CREATE INDEX IF NOT EXISTS events_by_age ON events (at);
