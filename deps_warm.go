package gatehouse

import (
	_ "github.com/alecthomas/kong"
	_ "github.com/cedar-policy/cedar-go"
	_ "github.com/coreos/go-oidc/v3/oidc"
	_ "github.com/danielgtaylor/huma/v2"
	_ "github.com/danielgtaylor/huma/v2/adapters/humago"
	_ "github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/pgproto3"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/pganalyze/pg_query_go/v6"
	_ "github.com/pressly/goose/v3"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/zitadel/oidc/v3/pkg/op"
	_ "go.uber.org/goleak"
	_ "golang.org/x/oauth2"
	_ "gopkg.in/yaml.v3"
	_ "modernc.org/sqlite"
	_ "pgregory.net/rapid"
)
