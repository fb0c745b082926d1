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

// The rule: each module that a go.mod requires itself, and each of golang.org/x, is no more than grace behind: no release after
// the required one is older than that. None is retracted or deprecated. Other indirect requirements follow those that require
// them, and govulncheck tells if one of them is vulnerable.
const grace = 45 * 24 * time.Hour

// always matches modules whose indirect requirements are covered, too: much of the cryptography and parsing of others is in them.
const always = "golang.org/x/"

// A module is what go list knows of one.
type module struct {
	Path       string
	Version    string
	Time       time.Time
	Versions   []string // all releases that are not retracted
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

// covered returns the modules of a go.mod that the rule is for.
func covered(file *modfile.File) (paths []string) {
	for _, r := range file.Require {
		replaced := slices.ContainsFunc(file.Replace, func(p *modfile.Replace) bool { return p.Old.Path == r.Mod.Path })
		if !replaced && (!r.Indirect || strings.HasPrefix(r.Mod.Path, always)) {
			paths = append(paths, r.Mod.Path)
		}
	}
	return paths
}

// behind returns how modules break the rule. An error, for what could not be asked, doesn't keep it from asking for the rest.
func behind(list func(query string) (*module, error), paths []string, now time.Time) (findings []string, err error) {
	for _, path := range paths {
		m, failed := list(path)
		if failed != nil {
			err = failed
			continue
		}
		if len(m.Retracted) > 0 {
			findings = append(findings, fmt.Sprintf("%s %s is retracted: %s", m.Path, m.Version, strings.Join(m.Retracted, "; ")))
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
			findings = append(findings, fmt.Sprintf("%s %s is behind: %s was released %d days ago; go get %[1]s@latest", m.Path, m.Version, next,
				int(age.Hours()/24)))
		}
	}
	return findings, err
}

// following returns the first release after a module's version; "" if there is none.
func following(m *module) string {
	for _, v := range m.Versions {
		if semver.Compare(v, m.Version) > 0 && semver.Prerelease(v) == "" {
			return v
		}
	}
	return ""
}
