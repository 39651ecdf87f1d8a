-- The tables of sqlite.sql, which explains them. Times are Unix seconds in both
-- databases, so the same queries work on both.
CREATE TABLE IF NOT EXISTS organizations (
	id    TEXT PRIMARY KEY,
	name  TEXT NOT NULL,
	email TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS users (
	id    TEXT PRIMARY KEY,
	email TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS memberships (
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	user_id         TEXT NOT NULL REFERENCES users (id),
	role            TEXT NOT NULL,
	PRIMARY KEY (organization_id, user_id)
);
CREATE TABLE IF NOT EXISTS streams (
	id              TEXT PRIMARY KEY,
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	name            TEXT NOT NULL,
	plan            TEXT NOT NULL,
	primary_region  TEXT NOT NULL,
	read_regions    TEXT NOT NULL, -- a JSON array
	ip_address      TEXT NOT NULL,
	sealed_password BYTEA NOT NULL,
	created_at      BIGINT NOT NULL DEFAULT extract(epoch FROM now())::bigint,
	status          TEXT NOT NULL,
	machine_id      TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS streams_by_organization ON streams (organization_id);
CREATE INDEX IF NOT EXISTS streams_by_machine ON streams (machine_id);
CREATE TABLE IF NOT EXISTS deprovisioned (
	id TEXT PRIMARY KEY,
	at BIGINT NOT NULL DEFAULT extract(epoch FROM now())::bigint
);
CREATE TABLE IF NOT EXISTS key_check (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	sealed BYTEA NOT NULL
);
CREATE TABLE IF NOT EXISTS revisions (
	stream_id TEXT PRIMARY KEY,
	revision  BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS machines (
	id TEXT PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS activities (
	id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at              BIGINT NOT NULL DEFAULT extract(epoch FROM now())::bigint,
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	stream_id       TEXT NOT NULL,
	stream_name     TEXT NOT NULL,
	what            TEXT NOT NULL,
	who             TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS activities_by_organization ON activities (organization_id, id);
CREATE TABLE IF NOT EXISTS sessions (
	hash            BYTEA PRIMARY KEY,
	user_id         TEXT NOT NULL REFERENCES users (id),
	user_name       TEXT NOT NULL,
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	expires_at      BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
	source TEXT NOT NULL,
	id     TEXT NOT NULL,
	at     BIGINT NOT NULL DEFAULT extract(epoch FROM now())::bigint,
	PRIMARY KEY (source, id)
);
CREATE INDEX IF NOT EXISTS events_by_age ON events (at);
