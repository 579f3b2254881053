/*
 * A client of libpq 18 that gets its token through libpq's hook, as an agent's own program would:
 *   TOKEN=... oauth CONNINFO QUERY
 * Prints what the hook was asked, then the first value of the query's result. The declarations are those of
 * PostgreSQL 18's libpq-fe.h (PostgreSQL documentation, 32.20).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct pg_conn PGconn;
typedef struct pg_result PGresult;
typedef struct PGoauthBearerRequest {
	const char *openid_configuration;
	const char *scope;
	int (*async)(PGconn *, struct PGoauthBearerRequest *, int *);
	void (*cleanup)(PGconn *, struct PGoauthBearerRequest *);
	char *token;
	void *user;
} PGoauthBearerRequest;
typedef int (*hook)(int type, PGconn *conn, void *data);

extern void PQsetAuthDataHook(hook);
extern PGconn *PQconnectdb(const char *);
extern int PQstatus(const PGconn *);
extern char *PQerrorMessage(const PGconn *);
extern PGresult *PQexec(PGconn *, const char *);
extern int PQresultStatus(const PGresult *);
extern char *PQgetvalue(const PGresult *, int, int);
extern void PQfinish(PGconn *);

static int give(int type, PGconn *conn, void *data) {
	PGoauthBearerRequest *r = data;

	(void) conn;
	if (type != 1) /* PQAUTHDATA_OAUTH_BEARER_TOKEN */
		return 0;
	printf("asked with %s, scope %s\n", r->openid_configuration ? r->openid_configuration : "nothing", r->scope ? r->scope : "none");
	r->token = strdup(getenv("TOKEN"));
	return 1;
}

int main(int argc, char **argv) {
	PGconn *conn;
	PGresult *result;

	if (argc != 3)
		return 2;
	PQsetAuthDataHook(give);
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != 0) {
		fprintf(stderr, "%s", PQerrorMessage(conn));
		return 1;
	}
	result = PQexec(conn, argv[2]);
	if (PQresultStatus(result) != 2) {
		fprintf(stderr, "%s", PQerrorMessage(conn));
		return 1;
	}
	printf("%s\n", PQgetvalue(result, 0, 0));
	PQfinish(conn);
	return 0;
}
