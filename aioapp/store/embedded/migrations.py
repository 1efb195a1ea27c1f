"""The tables, as they came to be. A migration that was released is never changed: another one follows it."""

MIGRATIONS = (
    """
    CREATE TABLE keys (
        name TEXT PRIMARY KEY,
        admin INTEGER NOT NULL,
        requests_per_minute INTEGER,
        tokens_per_minute INTEGER,
        concurrency INTEGER,
        budget INTEGER,             -- nanodollars
        budget_per TEXT CHECK (budget_per IN ('day', 'month')),
        models TEXT NOT NULL,       -- patterns with blanks between them
        created_at TEXT NOT NULL,   -- times are ISO 8601 in UTC
        expires_at TEXT,
        revoked_at TEXT,
        CHECK ((budget IS NULL) = (budget_per IS NULL))
    ) STRICT;

    CREATE TABLE secrets (
        id TEXT PRIMARY KEY,
        key TEXT NOT NULL REFERENCES keys (name),
        digest BLOB NOT NULL,       -- SHA-256 of the text that was shown
        created_at TEXT NOT NULL,
        expires_at TEXT
    ) STRICT;

    -- Counts every change of a key, so that whoever holds keys in memory sees by one number whether they still hold.
    -- It begins anywhere: another database in the place of this one has another number.
    CREATE TABLE keys_version (version INTEGER NOT NULL) STRICT;
    INSERT INTO keys_version VALUES (abs(random() / 2));
    CREATE TRIGGER keys_added AFTER INSERT ON keys BEGIN UPDATE keys_version SET version = version + 1; END;
    CREATE TRIGGER keys_changed AFTER UPDATE ON keys BEGIN UPDATE keys_version SET version = version + 1; END;
    CREATE TRIGGER keys_removed AFTER DELETE ON keys BEGIN UPDATE keys_version SET version = version + 1; END;
    CREATE TRIGGER secrets_added AFTER INSERT ON secrets BEGIN UPDATE keys_version SET version = version + 1; END;
    CREATE TRIGGER secrets_changed AFTER UPDATE ON secrets BEGIN UPDATE keys_version SET version = version + 1; END;
    CREATE TRIGGER secrets_removed AFTER DELETE ON secrets BEGIN UPDATE keys_version SET version = version + 1; END;

    -- One row a day, key and model, from which reports are made. An empty key is a caller without one.
    CREATE TABLE usage (
        day TEXT NOT NULL,
        key TEXT NOT NULL,
        model TEXT NOT NULL,
        requests INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        cancelled INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cache_creation_input_tokens INTEGER NOT NULL,
        cache_read_input_tokens INTEGER NOT NULL,
        nanodollars INTEGER NOT NULL,
        seconds REAL NOT NULL,
        PRIMARY KEY (day, key, model)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX usage_by_key ON usage (key, day);

    -- What each key has spent in each day (2026-11-23) and month (2026-11): sums of `usage`, which every process reads
    -- twice a second.
    CREATE TABLE spent (
        period TEXT NOT NULL,
        key TEXT NOT NULL,
        nanodollars INTEGER NOT NULL,
        PRIMARY KEY (period, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER usage_added AFTER INSERT ON usage BEGIN
        INSERT INTO spent VALUES (new.day, new.key, new.nanodollars), (substr(new.day, 1, 7), new.key, new.nanodollars)
        ON CONFLICT DO UPDATE SET nanodollars = nanodollars + excluded.nanodollars; END;
    CREATE TRIGGER usage_changed AFTER UPDATE OF nanodollars ON usage BEGIN
        UPDATE spent SET nanodollars = nanodollars + new.nanodollars - old.nanodollars
        WHERE period IN (new.day, substr(new.day, 1, 7)) AND key = new.key; END;

    -- The latest generations, one by one.
    CREATE TABLE requests (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        request_id TEXT NOT NULL,
        key TEXT NOT NULL,
        model TEXT NOT NULL,
        outcome TEXT NOT NULL,
        error TEXT,
        stop_reason TEXT,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cache_creation_input_tokens INTEGER NOT NULL,
        cache_read_input_tokens INTEGER NOT NULL,
        nanodollars INTEGER NOT NULL,
        first REAL,
        seconds REAL NOT NULL,
        prompt TEXT
    ) STRICT;
    """,
    """
    -- The browsers that are signed in to the page for administrators.
    CREATE TABLE sessions (
        digest BLOB NOT NULL PRIMARY KEY,   -- SHA-256 of what the cookie holds
        secret TEXT NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,     -- with which it was begun
        expires_at TEXT NOT NULL
    ) STRICT;
    """,
    """
    -- Whether relayed calls keep the budget too, to the last cent.
    ALTER TABLE keys ADD COLUMN budget_strict INTEGER NOT NULL DEFAULT 0;
    """,
    """
    -- What people write about a key.
    ALTER TABLE keys ADD COLUMN note TEXT;
    ALTER TABLE keys ADD COLUMN owner TEXT;
    """,
    """
    -- Who did what to which key, and when. It is only ever added to.
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        who TEXT NOT NULL,          -- a key's name, or "command line"
        deed TEXT NOT NULL CHECK (deed IN ('created', 'changed', 'rotated', 'revoked', 'forgotten')),
        key TEXT NOT NULL,
        changes TEXT NOT NULL       -- JSON: of each field that was changed, what it was before and after
    ) STRICT;
    CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the trail is kept as it is'); END;
    CREATE TRIGGER audit_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the trail is kept as it is'); END;
    """,
    """
    -- When each key's latest generation ended. It stands apart from the keys, whose every change all processes read.
    CREATE TABLE last_used (
        key TEXT NOT NULL PRIMARY KEY,
        at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO last_used SELECT key, max(at) FROM requests WHERE key <> '' GROUP BY key;
    """,
    """
    -- How often a key was refused for its own terms, by day and reason, and when that was last.
    CREATE TABLE refusals (
        day TEXT NOT NULL,
        key TEXT NOT NULL,          -- empty for callers without one
        reason TEXT NOT NULL,
        requests INTEGER NOT NULL,
        last_at TEXT NOT NULL,
        PRIMARY KEY (day, key, reason)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX refusals_by_key ON refusals (key, day);

    -- The latest of them, one by one: apart from the generations, which they must not push out.
    CREATE TABLE refused_requests (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        request_id TEXT NOT NULL,
        key TEXT NOT NULL,
        model TEXT NOT NULL,
        error TEXT NOT NULL,        -- the reason
        status INTEGER NOT NULL,
        transport TEXT NOT NULL
    ) STRICT;

    -- The status of HTTP that the caller got, and how; of those before, it is not known.
    ALTER TABLE requests ADD COLUMN status INTEGER;
    ALTER TABLE requests ADD COLUMN transport TEXT;
    CREATE INDEX requests_at ON requests (at);
    CREATE INDEX requests_id ON requests (request_id);
    """,
    """
    -- What operators are told, each once: whichever process has its row in first has it sent.
    CREATE TABLE alerts (
        id TEXT NOT NULL PRIMARY KEY,   -- under which it is sent, however often
        type TEXT NOT NULL,
        subject TEXT NOT NULL,          -- a key's name, "*" for the whole server, or empty
        period TEXT NOT NULL,           -- of a budget, with its amount; or which outage it is
        body BLOB NOT NULL,             -- as it is sent
        kept_until TEXT NOT NULL,       -- it need not be remembered any longer
        tries INTEGER NOT NULL,
        due_at TEXT,                    -- when it is tried next, if it is to be
        UNIQUE (type, subject, period)
    ) STRICT;
    CREATE INDEX alerts_due ON alerts (due_at) WHERE due_at IS NOT NULL;

    -- What did not work, and whether that goes on: the latest of each kind, in Unix seconds.
    CREATE TABLE outages (
        what TEXT NOT NULL PRIMARY KEY,
        began_at REAL NOT NULL,
        ended_at REAL
    ) STRICT, WITHOUT ROWID;
    """,
)
