// Package gen is afgen's code generator as a library.
//
// [Generate] reads annotated packages and returns a [Plan]: diagnostics, and the files to write or remove. It doesn't
// change files. [Plan.Apply] does. So the commands generate, check and breaking, and the golden tests, use the same
// code. If there are diagnostics, a Plan has no changes, since a mix of new and old output is worse than the old
// output.
//
//	plan, err := gen.Generate(ctx, ".", []string{"./..."}, gen.Options{})
//	// check err and plan.Diagnostics
//	err = plan.Apply()
//
// Other packages do the work. scan loads the code and converts it to the intermediate representation of package ir.
// emit and contract convert that to files. diag describes problems. With [Options.Manifests], package manifest detects
// that nothing has changed since an earlier run.
package gen

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/gen/manifest"
	"github.com/afgen/afgen/gen/scan"
)

// Options are optional settings of [Generate].
type Options struct {
	Tags string   // build tags, as for go build -tags
	Env  []string // environment of the go command; nil means that of the process
	// Manifests is a cache that makes runs without changes fast. It is not used if it is "" or Env is set.
	Manifests manifest.Store
}

// A Plan is the result of [Generate].
type Plan struct {
	// Packages are the annotated packages, sorted by path.
	Packages []scan.Package
	// Skipped are the annotated files that were not scanned.
	Skipped []scan.Skipped
	// Kept are those of the skipped files that can't be analyzed and whose output is kept.
	Kept []scan.Kept
	// Diagnostics are the problems, sorted. If there are any, Changes is empty.
	Diagnostics diag.List
	// Warnings are sorted. If Unchanged is set, there are none.
	Warnings diag.List
	// Changes are the files to write or remove, sorted by path.
	Changes []Change
	// Unchanged is set if nothing has changed since an earlier run. Then Packages and Skipped are empty.
	Unchanged bool
	// Annotated reports whether there are annotated packages.
	Annotated bool

	session *session
	scanned *scan.Result
}

// A Kind is the reason for a [Change].
type Kind string

const (
	Missing  Kind = "missing"  // the file doesn't exist
	Stale    Kind = "stale"    // the code has changed since afgen wrote the file
	Edited   Kind = "edited"   // the file was edited or merged after afgen wrote it
	Orphaned Kind = "orphaned" // the file is generated, but its annotations are gone
)

// A Change is a file to write, or to remove if New is nil.
type Change struct {
	Path string
	Kind Kind
	Old  []byte
	New  []byte
}

// Generate plans the output for the packages that patterns, which are relative to dir, name. It returns an error if the
// packages can't be loaded. Problems of the code are in [Plan.Diagnostics].
func Generate(ctx context.Context, dir string, patterns []string, opts Options) (plan *Plan, err error) {
	defer func() {
		if p := recover(); p != nil {
			plan, err = nil, fmt.Errorf("%s: bug in afgen: %v\n%s", diag.Internal, p, debug.Stack())
		}
	}()
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	session := openSession(dir, patterns, opts)
	if plan := session.unchanged(); plan != nil {
		return plan, nil
	}
	res, err := scan.Scan(ctx, scan.Config{
		Dir: dir, Patterns: patterns, Tags: opts.Tags, Env: opts.Env,
		OutputNames: outputNames, Generated: emit.IsOutput,
		ConstrainedFile: emit.ConstrainedFile, ClientFile: emit.ClientFile,
	})
	if err != nil {
		return nil, err
	}
	if err := res.CheckMatches(ctx); err != nil {
		return nil, err
	}
	plan = &Plan{
		Packages: res.Packages, Skipped: res.Skipped, Diagnostics: res.Diagnostics, Warnings: res.Warnings,
		Annotated: len(res.Packages) > 0, session: session, scanned: res,
	}
	if len(plan.Diagnostics) > 0 {
		return plan, nil
	}
	stays, err := plan.keepOutputs()
	if err != nil || len(plan.Diagnostics) > 0 {
		return plan, err
	}
	clients, err := emitClients(res, stays)
	if err != nil {
		return nil, err
	}
	wanted, err := plan.emit(clients, stays)
	if err != nil || len(plan.Diagnostics) > 0 {
		return plan, err
	}
	wanted = append(wanted, clients.wanted...)
	outputs, err := ownOutputs(res)
	if err != nil {
		return nil, err
	}
	if err := plan.compareWithDisk(wanted, outputs); err != nil {
		return nil, err
	}
	plan.markEdited(clients.places)
	if len(plan.Kept) == 0 { // each run reports kept files
		session.record(dir, res.Inputs, wanted)
	}
	return plan, nil
}

var outputNames = []string{emit.GoFile, emit.ContractFile}

var emitPackage = emit.Package // replaced by a test

// wanted describes the output of a package.
type wanted struct {
	dir   string // of the package
	ir    manifest.Sum
	files map[string]manifest.Sum // by path
	// contents has the contents by path. It is nil if an earlier run has generated the same files and they are unchanged.
	contents map[string][]byte
}

// emit generates the files of all packages concurrently, because formatting takes most of the time of a run.
func (p *Plan) emit(clients *clientFiles, stays map[string]bool) ([]wanted, error) {
	out, bugs := make([]wanted, len(p.Packages)), make([]error, len(p.Packages))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, pkg := range p.Packages {
		if stays[pkg.IR.Path] {
			continue
		}
		group.Go(func() error {
			elsewhere := clients.from[pkg.IR.Path]
			// The contract contains checksums of client files.
			data, err := json.Marshal([]any{pkg.IR, elsewhere})
			if err != nil {
				return err
			}
			out[i].dir, out[i].ir = pkg.Dir, manifest.SumOf(data)
			if out[i].files = p.session.upToDate(pkg.Dir, out[i].ir); out[i].files != nil {
				return nil
			}
			var files []emit.File
			files, bugs[i] = emitPackage(pkg.IR, elsewhere)
			out[i].files, out[i].contents = map[string]manifest.Sum{}, map[string][]byte{}
			for _, f := range files {
				path := filepath.Join(pkg.Dir, f.Name)
				out[i].files[path], out[i].contents[path] = manifest.SumOf(f.Content), f.Content
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, bug := range bugs {
		if bug != nil {
			pkg := p.Packages[i]
			p.Diagnostics = append(p.Diagnostics, diag.Bug(pkg.Pos, "package "+pkg.IR.Path, bug, nil))
		}
	}
	p.Diagnostics.Sort()
	return out, nil
}

// compareWithDisk sets p.Changes to the differences between the wanted files and those on disk. outputs are the
// generated files on disk.
func (p *Plan) compareWithDisk(all []wanted, outputs []string) error {
	contents, known := map[string][]byte{}, map[string]bool{}
	for _, w := range all {
		maps.Copy(contents, w.contents)
		for path := range w.files {
			known[path] = true
		}
	}
	for path, content := range contents {
		old, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			p.Changes = append(p.Changes, Change{Path: path, Kind: Missing, New: content})
		case err != nil:
			return err
		case !emit.IsOutput(path, old):
			return fmt.Errorf("%s was replaced while afgen was running; run it again", path)
		case !bytes.Equal(old, content):
			p.Changes = append(p.Changes, Change{Path: path, Kind: Stale, Old: old, New: content})
		}
	}
	for _, path := range outputs {
		if known[path] {
			continue
		}
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		p.Changes = append(p.Changes, Change{Path: path, Kind: Orphaned, Old: old})
	}
	slices.SortFunc(p.Changes, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}

// Source returns the content of a file for the excerpts of diagnostics.
func (p *Plan) Source(file string) ([]byte, error) {
	if p.scanned != nil {
		if src, ok := p.scanned.Source(file); ok {
			return src, nil
		}
	}
	return os.ReadFile(file)
}

// IR returns the intermediate representation of the packages.
func (p *Plan) IR() []*ir.Package {
	var out []*ir.Package
	for _, pkg := range p.Packages {
		out = append(out, pkg.IR)
	}
	return out
}
