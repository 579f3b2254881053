// Package shop makes the demo's data: a shop of 10,000 customers and 100,000 orders, always the same.
package shop

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed shop.sql
var data string

// Role is the role that the gateway signs in with: it may read and write rows, and owns nothing.
const Role = "gatehouse"

// Labels are the data classes of the shop's columns, as the gateway's configuration writes them.
const Labels = `{public.customers: {email: pii.email, national_id: pii.national_id, phone: pii.phone, birth_date: pii.birth_date, profile: pii.profile}}`

// Tables is the SQL that makes the shop's tables, without their rows.
func Tables() string {
	tables, _, _ := strings.Cut(data, "INSERT INTO")
	return tables
}

// Load makes the database `shop`, fills it, and makes the gateway's role with the password. admin is the
// URL of the superuser for the database of a name.
func Load(ctx context.Context, admin func(database string) string, password string) error {
	conn, err := pgx.Connect(ctx, admin("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE DATABASE shop"); err != nil {
		return fmt.Errorf("make the database shop: %w", err)
	}
	// The password is made by us, of letters and digits.
	if _, err := conn.Exec(ctx, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", Role, password)); err != nil {
		return fmt.Errorf("make the role %s: %w", Role, err)
	}
	db, err := pgx.Connect(ctx, admin("shop"))
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	if _, err := db.Exec(ctx, data); err != nil {
		return fmt.Errorf("fill the database shop: %w", err)
	}
	_, err = db.Exec(ctx, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+Role)
	return err
}
