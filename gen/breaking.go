package gen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/ir"
)

// A Comparison is the result of [Plan.Breaking].
type Comparison struct {
	Report contract.Report
	// Contracts is the number of older contracts that were compared.
	Contracts int
	places    map[string]diag.Pos // by import path and symbol
}

// Place returns the position of a symbol in the current code, or the zero Pos if it is gone.
func (c *Comparison) Place(pkg, symbol string) diag.Pos { return c.places[pkg+" "+symbol] }

// Breaking compares the packages of a plan with older contracts. against is a file with one or more contracts or a
// directory with contract files. git:REF means the contract files in the repository at a commit, branch or tag. Paths
// are relative to dir. Breaking compares only contracts of packages that the plan's patterns name. The plan must have
// no diagnostics.
func (p *Plan) Breaking(ctx context.Context, dir, against string) (*Comparison, error) {
	var old []contract.Contract
	var err error
	if ref, ok := strings.CutPrefix(against, "git:"); ok {
		old, err = p.fromGit(ctx, dir, ref)
	} else {
		old, err = p.fromFiles(dir, against)
	}
	if err != nil {
		return nil, err
	}
	c := &Comparison{Contracts: len(old), places: map[string]diag.Pos{}}
	var now []*ir.Package
	for _, pkg := range p.Packages {
		now = append(now, pkg.IR)
		for symbol, at := range pkg.Places {
			c.places[pkg.IR.Path+" "+symbol] = at
		}
	}
	for i, o := range old { // ignore types that can't be analyzed
		if dir, ok := p.scanned.Dir(o.Package); ok && p.scanned.Keeps(dir) {
			old[i], _ = without(o, typesKept(p.Kept, dir))
		}
	}
	c.Report, err = contract.Breaking(old, now)
	return c, err
}

// fromFiles reads the contracts in a file, or in all contract files below a directory.
func (p *Plan) fromFiles(dir, against string) ([]contract.Contract, error) {
	if !filepath.IsAbs(against) {
		against = filepath.Join(dir, against)
	}
	info, err := os.Stat(against)
	if err != nil {
		return nil, err
	}
	var all []contract.Contract
	read := func(file string) error {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		some, err := contractsIn(content)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, c := range some {
			if pkgDir, ok := p.scanned.Dir(c.Package); !ok || p.scanned.Matches(pkgDir, c.Package) {
				all = append(all, c)
			}
		}
		return nil
	}
	if !info.IsDir() {
		return all, read(against)
	}
	err = filepath.WalkDir(against, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != contract.FileName {
			return err
		}
		return read(file)
	})
	return all, err
}

// contractsIn parses one or more contracts.
func contractsIn(content []byte) ([]contract.Contract, error) {
	var all []contract.Contract
	d := json.NewDecoder(bytes.NewReader(content))
	for {
		var one json.RawMessage
		if err := d.Decode(&one); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		c, err := contract.Unmarshal(one)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if all == nil {
		return nil, errors.New("no contract found")
	}
	return all, nil
}

// fromGit reads the contract files at ref in the repository that contains dir.
func (p *Plan) fromGit(ctx context.Context, dir, ref string) ([]contract.Contract, error) {
	git := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
		}
		return out, nil
	}
	top, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		return nil, err
	}
	root := filepath.FromSlash(strings.TrimRight(string(top), "\r\n"))
	tree, err := git("rev-parse", "--verify", "--end-of-options", ref+"^{tree}")
	if err != nil {
		return nil, fmt.Errorf("unknown git revision %q: %w%s", ref, err, fetchHint(git, ref))
	}
	id := strings.TrimSpace(string(tree))
	list, err := git("ls-tree", "-r", "-z", "--name-only", "--full-tree", id)
	if err != nil {
		return nil, err
	}
	var all []contract.Contract
	for file := range strings.SplitSeq(string(list), "\x00") {
		if path.Base(file) != contract.FileName {
			continue
		}
		pkgDir, err := p.dirInPatterns(dir, root, path.Dir(file))
		if err != nil {
			return nil, err
		}
		content, err := git("cat-file", "blob", id+":"+file)
		if err != nil {
			return nil, err
		}
		some, err := contractsIn(content)
		if err != nil {
			return nil, fmt.Errorf("%s at %s: %w", file, ref, err)
		}
		for _, c := range some {
			if p.scanned.Matches(pkgDir, c.Package) {
				all = append(all, c)
			}
		}
	}
	return all, nil
}

// fetchHint returns a line that describes how to fetch a missing commit, or "".
func fetchHint(git func(...string) ([]byte, error), ref string) string {
	shallow, err := git("rev-parse", "--is-shallow-repository")
	if err == nil && strings.TrimSpace(string(shallow)) == "true" {
		return "\nthis clone is shallow and lacks older commits: run git fetch --unshallow; " +
			"in CI, clone the full history (fetch-depth: 0, GIT_DEPTH: 0)"
	}
	remote, branch, ok := strings.Cut(ref, "/")
	if _, err := git("config", "--get", "remote."+remote+".url"); ok && err == nil {
		return fmt.Sprintf("\nif it is a branch of %s, run git fetch %[1]s %s", remote, branch)
	}
	return ""
}

// dirInPatterns returns the directory pkgDir of the repository at root as a path below dir. dir may contain symbolic
// links, which git resolves.
func (p *Plan) dirInPatterns(dir, root, pkgDir string) (string, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(real, filepath.Join(root, filepath.FromSlash(pkgDir)))
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, rel), nil
}
