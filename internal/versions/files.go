package versions

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"

	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

// Bounds of a version.
const (
	MaxFiles = 1000
	MaxBytes = 4 << 20 // of all files together
	// maxShown bounds the difference that an approver is asked to look at, in bytes.
	maxShown = 512 << 10
)

// fileName is what a file of a version may be called: nothing that leads elsewhere when it is exported.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.cedar$`)

// CheckFiles says what is wrong with the files of a version, besides what they say.
func CheckFiles(files []store.PolicyFile) error {
	if len(files) == 0 {
		return fmt.Errorf("there is no file in it: without a policy nothing is permitted")
	}
	if len(files) > MaxFiles {
		return fmt.Errorf("%d files are more than the %d that a version may have", len(files), MaxFiles)
	}
	seen, bytes := map[string]bool{}, 0
	for _, f := range files {
		bytes += len(f.Text)
		switch folded := strings.ToLower(f.Name); {
		case !fileName.MatchString(f.Name):
			return fmt.Errorf("%q cannot be the name of a file: letters, digits, . _ and -, ending in .cedar", f.Name)
		case seen[folded]:
			return fmt.Errorf("two files are called %s: give each a name of its own", f.Name)
		case !utf8.ValidString(f.Text):
			return fmt.Errorf("%s is not UTF-8", f.Name)
		default:
			seen[folded] = true
		}
	}
	if bytes > MaxBytes {
		return fmt.Errorf("the files have %d bytes together; the limit is %d", bytes, MaxBytes)
	}
	return nil
}

// sources are files as the engine takes them, by name.
func sources(files []store.PolicyFile) []policy.Source {
	out := make([]policy.Source, len(files))
	for i, f := range files {
		out[i] = policy.Source{Name: f.Name, Text: []byte(f.Text)}
	}
	slices.SortFunc(out, func(a, b policy.Source) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// filesOf are texts as they are kept: of two with the same name the second gets another one.
func filesOf(texts []policy.Source) []store.PolicyFile {
	seen := map[string]bool{}
	var out []store.PolicyFile
	for _, s := range texts {
		base := strings.TrimSuffix(filepath.Base(s.Name), ".cedar")
		name := base + ".cedar"
		for n := 2; seen[name]; n++ {
			name = fmt.Sprintf("%s-%d.cedar", base, n)
		}
		seen[name] = true
		out = append(out, store.PolicyFile{Name: name, Text: string(s.Text)})
	}
	slices.SortFunc(out, func(a, b store.PolicyFile) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Diff is what leads from some files to others, as unified diffs; "" where they are equal.
func Diff(from, to []store.PolicyFile) string {
	before, after := map[string]string{}, map[string]string{}
	names := map[string]bool{}
	for _, f := range from {
		before[f.Name], names[f.Name] = f.Text, true
	}
	for _, f := range to {
		after[f.Name], names[f.Name] = f.Text, true
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := "a/"+name, "b/"+name
		if _, ok := before[name]; !ok {
			a = "/dev/null"
		}
		if _, ok := after[name]; !ok {
			b = "/dev/null"
		}
		out.Write(diff.Diff(a, []byte(before[name]), b, []byte(after[name])))
	}
	return out.String()
}
