package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// The rule: each direct requirement of a go.mod, and each of golang.org/x, is at most grace behind: no release after
// the required one is older than that. None is retracted or deprecated. Other indirect requirements follow their
// dependents, and govulncheck reports vulnerable ones.
const grace = 45 * 24 * time.Hour

// always matches modules whose indirect requirements are covered, too. They contain most cryptography and parsing.
const always = "golang.org/x/"

// A module is the output of go list for a module.
type module struct {
	Path       string
	Version    string
	Time       time.Time
	Versions   []string // all releases except retracted ones
	Retracted  []string
	Deprecated string
}

func decode(list []byte) (*module, error) {
	var m module
	if err := json.Unmarshal(list, &m); err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	return &m, nil
}

// covered returns the modules of a go.mod to which the rule applies.
func covered(file *modfile.File) (paths []string) {
	for _, r := range file.Require {
		replaced := slices.ContainsFunc(file.Replace, func(p *modfile.Replace) bool { return p.Old.Path == r.Mod.Path })
		if !replaced && (!r.Indirect || strings.HasPrefix(r.Mod.Path, always)) {
			paths = append(paths, r.Mod.Path)
		}
	}
	return paths
}

// behind returns violations of the rule. After an error, for a module that couldn't be queried, it continues with the
// rest.
func behind(list func(query string) (*module, error), paths []string, now time.Time) (findings []string, err error) {
	for _, path := range paths {
		m, failed := list(path)
		if failed != nil {
			err = failed
			continue
		}
		if len(m.Retracted) > 0 {
			findings = append(findings,
				fmt.Sprintf("%s %s is retracted: %s", m.Path, m.Version, strings.Join(m.Retracted, "; ")))
		}
		if m.Deprecated != "" {
			findings = append(findings, fmt.Sprintf("%s is deprecated: %s", m.Path, m.Deprecated))
		}
		next := following(m)
		if next == "" {
			continue
		}
		n, failed := list(path + "@" + next)
		if failed != nil {
			err = failed
			continue
		}
		if age := now.Sub(n.Time); age > grace {
			findings = append(findings,
				fmt.Sprintf("%s %s is behind: %s was released %d days ago; go get %[1]s@latest", m.Path, m.Version, next,
					int(age.Hours()/24)))
		}
	}
	return findings, err
}

// following returns the first release after a module's version, or "".
func following(m *module) string {
	for _, v := range m.Versions {
		if semver.Compare(v, m.Version) > 0 && semver.Prerelease(v) == "" {
			return v
		}
	}
	return ""
}
