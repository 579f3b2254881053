// Package secret reads secrets from where the configuration says that they are: the environment or a file.
//
// A secret is never written in the configuration itself, and its value never appears in an error.
package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
)

// maxSize bounds the file of a secret, in bytes.
const maxSize = 64 << 10

// Ref says where a secret is: {env: NAME} or {file: PATH}. The zero value is no secret.
type Ref struct {
	Env  string `json:"env,omitempty"`
	File string `json:"file,omitempty"`
}

// IsZero says whether no secret was configured.
func (r Ref) IsZero() bool { return r == Ref{} }

// UnmarshalYAML reads {env: NAME} or {file: PATH}; a literal is an error that says so, without repeating it.
func (r *Ref) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return strict.Errorf(n, "a secret is not written here: use {env: NAME} or {file: PATH}")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Value != "env" && k.Value != "file" {
			return strict.Errorf(k, "unknown key %q: a secret is {env: NAME} or {file: PATH}", k.Value)
		}
	}
	var v struct {
		Env  string `yaml:"env"`
		File string `yaml:"file"`
	}
	if err := strict.Decode(n, &v); err != nil {
		return err
	}
	if (v.Env == "") == (v.File == "") {
		return strict.Errorf(n, "a secret is {env: NAME} or {file: PATH}, one of them")
	}
	r.Env, r.File = v.Env, v.File
	return nil
}

// cause is an error of the file system without the path.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Resolve reads the secret; trailing line ends of a file are dropped. An empty secret is an error.
func (r Ref) Resolve() (string, error) {
	switch {
	case r.Env != "":
		v, ok := os.LookupEnv(r.Env)
		if !ok || v == "" {
			return "", fmt.Errorf("the environment variable %s, which should hold a secret, is not set: set it in the environment of this process", r.Env)
		}
		return v, nil
	case r.File != "":
		f, err := os.Open(r.File)
		if err != nil {
			return "", fmt.Errorf("the file %s, which should hold a secret, cannot be read (%w): make it, and readable for the user of this process", r.File, cause(err))
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
		if err != nil {
			return "", fmt.Errorf("read a secret from %s: %w", r.File, err)
		}
		v := strings.TrimRight(string(b), "\r\n")
		switch {
		case len(b) > maxSize:
			return "", fmt.Errorf("the file %s, which should hold a secret, is larger than %d KiB: is it the right file?", r.File, maxSize>>10)
		case v == "":
			return "", fmt.Errorf("the file %s, which should hold a secret, is empty: write the secret into it", r.File)
		}
		return v, nil
	}
	return "", fmt.Errorf("no secret is configured")
}
