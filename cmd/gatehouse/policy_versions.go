package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"gatehouse/internal/api/client"
	"gatehouse/internal/store"
	"gatehouse/internal/versions"
)

// policyVersion names a version on a command line.
type policyVersion string

var versionWord = regexp.MustCompile(`^(head|[0-9]{1,15}|[0-9a-f]{16})$`)

// UnmarshalText takes a number, head, or the policy_version of a recorded decision.
func (v *policyVersion) UnmarshalText(b []byte) error {
	if !versionWord.Match(b) {
		return fmt.Errorf("%q is not a version: a number such as 7, head, or the policy_version that a recorded decision names", b)
	}
	*v = policyVersion(b)
	return nil
}

type policyVersionsCommand struct {
	profileFlag
	outputFlag
	Limit int `default:"20" help:"At most so many."`
}

func (policyVersionsCommand) Help() string {
	return `Asks the gateway. EFFECTIVE is what recorded decisions name as their policy_version: it depends on the connections' groups, too.

Examples:
  gatehouse policy versions
  gatehouse policy versions --output json`
}

func (c policyVersionsCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	status, err := api.PolicyVersions(ctx, c.Limit)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, status)
	}
	fmt.Fprintf(s.out, "version %d is in force (decisions name it %s); the source is: %s\n", status.InForce.Number, status.Effective, status.Source)
	if d := status.Drift; d != nil {
		fmt.Fprintf(s.out, "DRIFT: %s %s\n", plain(d.Problem), plain(d.Remedy))
	}
	fmt.Fprintln(s.out)
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tPUBLISHED\tBY\tAPPROVED BY\tREASON")
	for _, v := range status.Versions {
		reason := v.Reason
		if v.Restores > 0 {
			reason = fmt.Sprintf("(version %d again) %s", v.Restores, reason)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", v.Number, ago(v.At), line(v.By(), 30), line(strings.Join(v.ApprovedBy, ", "), 30), line(reason, 60))
	}
	return w.Flush()
}

type policyShowCommand struct {
	profileFlag
	outputFlag
	Version policyVersion `arg:"" optional:"" default:"head" help:"A number, head, or the policy_version of a recorded decision."`
}

func (policyShowCommand) Help() string {
	return `Examples:
  gatehouse policy show
  gatehouse policy show 7
  gatehouse policy show 0f3a9c51d2b7e846   # the policies that a recorded decision was made by`
}

func (c policyShowCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	v, err := api.PolicyVersion(ctx, string(c.Version))
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, v)
	}
	fmt.Fprintf(s.out, "// version %d, published %s by %s: %s\n", v.Number, v.At.Local().Format("2006-01-02 15:04"), plain(v.By()), plain(v.Reason))
	if len(v.ApprovedBy) > 0 {
		fmt.Fprintf(s.out, "// approved by %s (%s)\n", plain(strings.Join(v.ApprovedBy, ", ")), v.Approval)
	}
	for _, f := range v.Files {
		fmt.Fprintf(s.out, "\n// %s\n", f.Name)
		printLines(s.out, f.Text)
	}
	return nil
}

// printLines prints a text that others wrote, in lines.
func printLines(w io.Writer, text string) {
	for l := range strings.Lines(text) {
		fmt.Fprintln(w, plain(strings.ReplaceAll(strings.TrimRight(l, "\r\n"), "\t", "    ")))
	}
}

type policyDiffCommand struct {
	profileFlag
	Versions []policyVersion `arg:"" optional:"" help:"One version: what it changed. Two: from one to the other."`
	Files    []string        `type:"existingfile" help:"From what is in force (or the version) to these files." placeholder:"FILE,…"`
}

func (policyDiffCommand) Help() string {
	return `Without an argument: what the version that is in force changed. Exits with 0 whether there is a difference or not.

Examples:
  gatehouse policy diff
  gatehouse policy diff 7
  gatehouse policy diff 5 head
  gatehouse policy diff --files policies/a.cedar,policies/b.cedar`
}

func (c policyDiffCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	if len(c.Versions) > 2 || len(c.Files) > 0 && len(c.Versions) > 1 {
		return errors.New("too many versions: give one or two, or one with --files")
	}
	from, to, err := c.sides(ctx, api)
	if err != nil {
		return err
	}
	text := versions.Diff(from, to)
	if text == "" {
		fmt.Fprintln(s.err, "no difference")
	}
	printLines(s.out, text)
	return nil
}

// sides are the files to compare.
func (c policyDiffCommand) sides(ctx context.Context, api *client.Client) (from, to []store.PolicyFile, err error) {
	first := "head"
	if len(c.Versions) > 0 {
		first = string(c.Versions[0])
	}
	v, err := api.PolicyVersion(ctx, first)
	switch {
	case err != nil:
		return nil, nil, err
	case len(c.Files) > 0:
		to, err = readPolicies(c.Files)
		return v.Files, to, err
	case len(c.Versions) == 2:
		other, err := api.PolicyVersion(ctx, string(c.Versions[1]))
		return v.Files, other.Files, err
	case v.Base == 0:
		return nil, v.Files, nil
	}
	base, err := api.PolicyVersion(ctx, strconv.FormatInt(v.Base, 10))
	return base.Files, v.Files, err
}

// readPolicies reads policy files as they are published: by their names, without folders.
func readPolicies(paths []string) ([]store.PolicyFile, error) {
	var out []store.PolicyFile
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if info.Size() > versions.MaxBytes {
			return nil, fmt.Errorf("%s has %d bytes; the limit for all files together is %d", p, info.Size(), versions.MaxBytes)
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		out = append(out, store.PolicyFile{Name: filepath.Base(p), Text: string(text)})
	}
	if err := versions.CheckFiles(out); err != nil {
		return nil, err
	}
	return out, nil
}

// publishFlags are what publishing always takes.
type publishFlags struct {
	profileFlag
	outputFlag
	Reason string `required:"" help:"Why; kept with the version, and shown to whoever approves it." placeholder:"TEXT"`
	DryRun bool   `help:"Only say what would happen."`
}

// report says what became of a draft.
func (f publishFlags) report(s streams, r versions.Result) error {
	if f.json() {
		return printJSON(s.out, r)
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(s.err, "warning:", plain(w))
	}
	switch {
	case r.Version != nil:
		fmt.Fprintf(s.out, "version %d is in force\n", r.Version.Number)
	case r.Approval != "":
		fmt.Fprintf(s.out, "it waits for approval %s: %s\n  %s\n", r.Approval, needsText(r), r.URL)
	default:
		printLines(s.out, r.Diff)
		fmt.Fprintln(s.out, "nothing was published (--dry-run)")
		if len(r.Needs) > 0 {
			fmt.Fprintf(s.out, "it would wait for an approval: %s\n", needsText(r))
		}
	}
	return nil
}

func needsText(r versions.Result) string {
	var out []string
	for _, n := range r.Needs {
		out = append(out, fmt.Sprintf("%d of %s (policy %s)", n.Quorum, n.Group, n.Policy))
	}
	return plain(strings.Join(out, ", "))
}

type policyPublishCommand struct {
	publishFlags
	Files []string `arg:"" type:"existingfile" help:"All policy files of the version."`
	Base  int64    `required:"" help:"The version that the files were made from (see policy versions). Where another one was published since, nothing is." placeholder:"NUMBER"`
}

func (policyPublishCommand) Help() string {
	return `The files together are the whole version: what is not in them is not in force any more. They are checked as by policy check. A version under which nobody could publish is refused. It counts from the next request on, in open sessions too. Where the policies ask for a second person (an @approval on administer), it waits for that.

Examples:
  gatehouse policy publish policies/*.cedar --base 7 --reason "support may see e-mail addresses" --dry-run
  gatehouse policy publish policies/*.cedar --base 7 --reason "support may see e-mail addresses"`
}

func (c policyPublishCommand) Run(ctx context.Context, s streams) error {
	files, err := readPolicies(c.Files)
	if err != nil {
		return err
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	r, err := api.PublishPolicies(ctx, versions.Draft{Base: c.Base, Files: files, Reason: c.Reason, DryRun: c.DryRun})
	if err != nil {
		return err
	}
	return c.report(s, r)
}

type policyRollbackCommand struct {
	publishFlags
	Version policyVersion `arg:"" help:"The version whose files are wanted again."`
}

func (policyRollbackCommand) Help() string {
	return `Publishes what an earlier version said, as a new version: nothing is taken out of the history.

Examples:
  gatehouse policy rollback 7 --reason "version 8 lets support see too much"
  gatehouse policy rollback 7 --reason "…" --dry-run`
}

func (c policyRollbackCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	status, err := api.PolicyVersions(ctx, 1)
	if err != nil {
		return err
	}
	r, err := api.RollBackPolicies(ctx, string(c.Version), status.InForce.Number, c.Reason, c.DryRun)
	if err != nil {
		return err
	}
	return c.report(s, r)
}

// exportMarker is the file that says which version a folder was exported from.
const exportMarker = ".gatehouse-version.json"

// exported is what the marker says.
type exported struct {
	Version int64             `json:"version"`
	Files   map[string]string `json:"files"` // hash by name
}

func markerOf(v versions.Version) exported {
	m := exported{Version: v.Number, Files: map[string]string{}}
	for _, f := range v.Files {
		m.Files[f.Name] = store.PolicyHash([]store.PolicyFile{f})
	}
	return m
}

func readMarker(dir string) (exported, error) {
	var m exported
	b, err := os.ReadFile(filepath.Join(dir, exportMarker))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil || m.Version < 1 {
		return m, fmt.Errorf("%s is damaged: export into another folder", filepath.Join(dir, exportMarker))
	}
	return m, nil
}

func writeMarker(dir string, m exported) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, exportMarker), append(b, '\n'), 0o600)
}

type policyExportCommand struct {
	profileFlag
	Dir     string        `arg:"" type:"path" help:"A folder: a new or empty one, or one of an earlier export where nothing was changed since."`
	Version policyVersion `arg:"" optional:"" default:"head" help:"A number, head, or the policy_version of a recorded decision."`
}

func (policyExportCommand) Help() string {
	return `Writes the files of a version into a folder, and a file that names the version: import publishes what was made of them.

Examples:
  gatehouse policy export policies
  gatehouse policy export /tmp/seven 7`
}

func (c policyExportCommand) Run(ctx context.Context, s streams) error {
	old, err := c.clear()
	if err != nil {
		return err
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	v, err := api.PolicyVersion(ctx, string(c.Version))
	if err != nil {
		return err
	}
	if err := versions.CheckFiles(v.Files); err != nil { // the names are made into paths
		return fmt.Errorf("version %d cannot be exported: %w", v.Number, err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	m := markerOf(v)
	if err := writeMarker(c.Dir, m); err != nil {
		return err
	}
	for _, f := range v.Files {
		if err := os.WriteFile(filepath.Join(c.Dir, f.Name), []byte(f.Text), 0o600); err != nil {
			return err
		}
	}
	for name := range old.Files {
		if _, stays := m.Files[name]; !stays {
			if err := os.Remove(filepath.Join(c.Dir, filepath.Base(name))); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(s.out, "version %d is in %s: %s\n", v.Number, c.Dir, count(len(v.Files), "file"))
	return nil
}

// clear says what an earlier export left, and refuses a folder where something would be lost.
func (c policyExportCommand) clear() (exported, error) {
	entries, err := os.ReadDir(c.Dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return exported{}, nil
	}
	if err != nil {
		return exported{}, err
	}
	old, err := readMarker(c.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return old, fmt.Errorf("%s is not empty and not of an earlier export: name another folder", c.Dir)
	}
	if err != nil {
		return old, err
	}
	found, err := importable(c.Dir)
	if err != nil {
		return old, err
	}
	for _, f := range found {
		if old.Files[f.Name] != store.PolicyHash([]store.PolicyFile{f}) {
			return old, fmt.Errorf("%s was changed since version %d was exported: import it, or name another folder", filepath.Join(c.Dir, f.Name), old.Version)
		}
	}
	if len(found) != len(old.Files) {
		return old, fmt.Errorf("a file of version %d is missing in %s: import what is there, or name another folder", old.Version, c.Dir)
	}
	return old, nil
}

// importable are the policy files of a folder.
func importable(dir string) ([]store.PolicyFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".cedar") && e.Type().IsRegular() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(paths)
	if len(paths) == 0 {
		return nil, fmt.Errorf("there is no .cedar file in %s", dir)
	}
	return readPolicies(paths)
}

type policyImportCommand struct {
	publishFlags
	Dir  string `arg:"" type:"existingdir" help:"A folder: all its .cedar files are the version."`
	Base int64  `help:"The version that the files were made from; the one that was exported, by default." placeholder:"NUMBER"`
}

func (policyImportCommand) Help() string {
	return `Publishes the files of a folder, in place of the version that was exported into it.

Examples:
  gatehouse policy export policies && $EDITOR policies/*.cedar
  gatehouse policy import policies --reason "support may see e-mail addresses"
  gatehouse policy import checkout/policies --base 7 --reason "merge 4711"`
}

func (c policyImportCommand) Run(ctx context.Context, s streams) error {
	files, err := importable(c.Dir)
	if err != nil {
		return err
	}
	m, err := readMarker(c.Dir)
	switch {
	case err == nil && c.Base == 0:
		c.Base = m.Version
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case c.Base == 0:
		return fmt.Errorf("%s was not exported: name the version that its files were made from with --base (see `gatehouse policy versions`)", c.Dir)
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	r, err := api.PublishPolicies(ctx, versions.Draft{Base: c.Base, Files: files, Reason: c.Reason, DryRun: c.DryRun})
	if err != nil {
		return err
	}
	if r.Version != nil && m.Version > 0 {
		v := *r.Version
		v.Files = files
		if err := writeMarker(c.Dir, markerOf(v)); err != nil {
			fmt.Fprintf(s.err, "warning: %v: the next import needs --base %d\n", err, v.Number)
		}
	}
	return c.report(s, r)
}
