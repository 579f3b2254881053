package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// PolicyFile is one file of a version of the policies.
type PolicyFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// PolicyHash names what files say: equal files, in any order, have equal hashes.
func PolicyHash(files []PolicyFile) string {
	files = slices.SortedFunc(slices.Values(files), func(a, b PolicyFile) int { return strings.Compare(a.Name, b.Name) })
	hash := sha256.New()
	for _, f := range files {
		fmt.Fprintf(hash, "%d %s\n%d %s\n", len(f.Name), f.Name, len(f.Text), f.Text)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// PolicyVersion is one version of the policies. Numbers begin with 1 and have no gaps; the highest is the head.
type PolicyVersion struct {
	Number int64
	Base   int64  // the version that was the head when it was published; 0: there was none
	Hash   string // of the files
	// Source is "person" where somebody published it, "files" where it was read from the configured files.
	Source    string
	Author    string // id; "" for files
	Name      string
	Reason    string
	Restores  int64    // the version that it rolled back to; 0: none
	Approval  string   // the approval that let it be published; "" where none was asked for
	Approvers []string // who gave it, by name
	At        time.Time
	Files     []PolicyFile // nil in lists
}

// StaleError is why a version was not published: others were, since the base that it stands on.
type StaleError struct {
	Base int64
	// Since are the versions that were published in between, the newest first; at most ten.
	Since []PolicyVersion
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("store: the version stands on %d, and %d versions came since", e.Base, len(e.Since))
}

// ErrNoVersion is returned where there is no such version.
var ErrNoVersion = errors.New("store: there is no such version of the policies")

// Publish makes a version the new head if its base is the head now; otherwise a *StaleError. Its number is given
// by the store.
func (s *Store) Publish(ctx context.Context, v PolicyVersion) (PolicyVersion, error) {
	err := s.within(ctx, func(tx *sql.Tx) error { return publish(ctx, tx, &v) })
	return v, err
}

// PublishApproved publishes a version whose approval is given, and ends the approval in the same transaction: it
// is published once, however often this is called and wherever a crash comes between. Where the version is stale
// the approval ends as withdrawn.
func (s *Store) PublishApproved(ctx context.Context, v PolicyVersion, hash string) (PolicyVersion, error) {
	var stale error
	err := s.within(ctx, func(tx *sql.Tx) error {
		h, err := get(ctx, tx, v.Approval)
		if err != nil {
			return err
		}
		if h.State != Approved || h.Kind != HoldPublish || h.Hash != hash || hash == "" {
			return ErrConflict
		}
		for _, a := range h.Answers {
			v.Approvers = append(v.Approvers, a.Name)
		}
		err = publish(ctx, tx, &v)
		if errors.As(err, new(*StaleError)) {
			stale = err
			return move(ctx, tx, h.ID, []State{Approved}, Withdrawn, "another version was published in between", v.At)
		}
		if err != nil {
			return err
		}
		return move(ctx, tx, h.ID, []State{Approved}, Done, fmt.Sprintf("published as version %d", v.Number), v.At)
	})
	return v, errors.Join(err, stale)
}

func publish(ctx context.Context, tx *sql.Tx, v *PolicyVersion) error {
	var head int64
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) FROM policy_versions`).Scan(&head); err != nil {
		return err
	}
	if head != v.Base {
		since, err := listVersions(ctx, tx, `number > ?`, 10, v.Base)
		if err != nil {
			return err
		}
		return &StaleError{Base: v.Base, Since: since}
	}
	if err := keepFiles(ctx, tx, v); err != nil {
		return err
	}
	if v.Source != "files" {
		v.Source = "person"
	}
	v.Number = head + 1
	approvers, err := json.Marshal(append([]string{}, v.Approvers...))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO policy_versions (`+versionColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		v.Number, v.Base, v.Hash, v.Source, v.Author, v.Name, v.Reason, v.Restores, v.Approval, string(approvers), v.At.UnixMicro())
	return err
}

// KeepFiles keeps files for a version that is not published yet, and gives their hash.
func (s *Store) KeepFiles(ctx context.Context, files []PolicyFile) (string, error) {
	v := PolicyVersion{Files: files}
	err := s.within(ctx, func(tx *sql.Tx) error { return keepFiles(ctx, tx, &v) })
	return v.Hash, err
}

func keepFiles(ctx context.Context, tx *sql.Tx, v *PolicyVersion) error {
	v.Hash = PolicyHash(v.Files)
	text, err := json.Marshal(v.Files)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO policy_files (hash, files) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING`, v.Hash, string(text))
	return err
}

// Files are what was kept under a hash; what does not fit it any more is an error.
func (s *Store) Files(ctx context.Context, hash string) ([]PolicyFile, error) {
	var files []PolicyFile
	err := s.within(ctx, func(tx *sql.Tx) error {
		var err error
		files, err = filesOf(ctx, tx, hash)
		return err
	})
	return files, err
}

func filesOf(ctx context.Context, tx *sql.Tx, hash string) ([]PolicyFile, error) {
	var text string
	err := tx.QueryRowContext(ctx, `SELECT files FROM policy_files WHERE hash = ?`, hash).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNoVersion
	}
	if err != nil {
		return nil, err
	}
	var files []PolicyFile
	if err := json.Unmarshal([]byte(text), &files); err != nil {
		return nil, err
	}
	if PolicyHash(files) != hash {
		return nil, fmt.Errorf("store: the policy files that were kept as %s are not those any more", hash)
	}
	return files, nil
}

const versionColumns = `number, base, hash, source, author, author_name, reason, restores, approval, approvers, at`

func listVersions(ctx context.Context, tx *sql.Tx, where string, limit int, args ...any) ([]PolicyVersion, error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+versionColumns+` FROM policy_versions WHERE `+where+` ORDER BY number DESC LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []PolicyVersion
	for rows.Next() {
		var v PolicyVersion
		var approvers string
		var at int64
		if err := rows.Scan(&v.Number, &v.Base, &v.Hash, &v.Source, &v.Author, &v.Name, &v.Reason, &v.Restores, &v.Approval, &approvers, &at); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(approvers), &v.Approvers); err != nil {
			return nil, err
		}
		v.At = time.UnixMicro(at)
		out = append(out, v)
	}
	return out, rows.Err()
}

// Versions are the newest so many, without their files.
func (s *Store) Versions(ctx context.Context, limit int) ([]PolicyVersion, error) {
	var out []PolicyVersion
	err := s.within(ctx, func(tx *sql.Tx) error {
		var err error
		out, err = listVersions(ctx, tx, `1 = 1`, limit)
		return err
	})
	return out, err
}

// Version is one version with its files; number 0 is the head. ErrNoVersion where there is none.
func (s *Store) Version(ctx context.Context, number int64) (PolicyVersion, error) {
	var v PolicyVersion
	err := s.within(ctx, func(tx *sql.Tx) error {
		var err error
		v, err = version(ctx, tx, number)
		return err
	})
	return v, err
}

func version(ctx context.Context, tx *sql.Tx, number int64) (PolicyVersion, error) {
	list, err := listVersions(ctx, tx, `? IN (0, number)`, 1, number)
	if err != nil {
		return PolicyVersion{}, err
	}
	if len(list) == 0 {
		return PolicyVersion{}, ErrNoVersion
	}
	list[0].Files, err = filesOf(ctx, tx, list[0].Hash)
	return list[0], err
}

// InForce notes that decisions which name effective as the version of their policies are by a version.
func (s *Store) InForce(ctx context.Context, effective string, number int64, since time.Time) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO policy_in_force (effective, number, since) VALUES (?, ?, ?) ON CONFLICT (effective, number) DO UPDATE SET since = excluded.since`,
		effective, number, since.UnixMicro())
	return err
}

// Deciding is the newest version by which decisions that name effective were made; ErrNoVersion where none is known.
func (s *Store) Deciding(ctx context.Context, effective string) (int64, error) {
	var number int64
	err := s.db.QueryRowContext(ctx, `SELECT number FROM policy_in_force WHERE effective = ? ORDER BY number DESC LIMIT 1`, effective).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNoVersion
	}
	return number, err
}

// Head reads the head of a store that another process may have open. ErrNoVersion where the store or a version is
// not there yet.
func Head(ctx context.Context, where string) (PolicyVersion, error) {
	path, ok := strings.CutPrefix(where, "sqlite:")
	if !ok {
		return PolicyVersion{}, fmt.Errorf("store: %q is not a store: use sqlite:PATH", where)
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return PolicyVersion{}, ErrNoVersion
	}
	q := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(5000)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return PolicyVersion{}, fmt.Errorf("store: %s: %w", path, err)
	}
	defer db.Close()
	s := &Store{db: db}
	var tables int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE name = 'policy_versions'`).Scan(&tables); err != nil {
		return PolicyVersion{}, fmt.Errorf("store: %s: %w", path, err)
	}
	if tables == 0 {
		return PolicyVersion{}, ErrNoVersion
	}
	v, err := s.Version(ctx, 0)
	if err != nil && !errors.Is(err, ErrNoVersion) {
		err = fmt.Errorf("store: %s: %w", path, err)
	}
	return v, err
}
