// Package gen is afgen's generator as a library: it reads annotated Go packages and plans the files that belong next to
// them.
//
//	Scan → Load → Analyze → IR → Emit → Plan → Apply
//
// Before all that, package manifest is asked whether anything has changed since an earlier run that left nothing to do:
// Options.Manifests.
//
// The phases hand each other plain values. Packages below this one do the work: scan loads and reads code and makes
// intermediate representation (package ir), emit and contract turn that into files, diag describes what is wrong. [Generate] runs all of
// it and returns a [Plan]: the diagnostics, and what would change on disk. It writes nothing. [Plan.Apply] writes. So
// generate, check, diff and the golden tests are one path.
//
// With a single diagnostic a Plan changes nothing: half of a module's new code with half of its old is worse than
// either.
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

// Options is how to generate. The zero value reads the directory as the go command would with no flags.
type Options struct {
	Tags string   // build tags, as for go build -tags
	Env  []string // of the go command; nil is the process's
	// Manifests keeps what runs have read and found in order, so that the next can be short; "" keeps nothing. It is not
	// used with an Env.
	Manifests manifest.Store
}

// A Plan is what a run found and what it would do.
type Plan struct {
	// Packages are the annotated packages, sorted by path.
	Packages []scan.Package
	// Skipped are the files that carry annotations and were not scanned.
	Skipped []scan.Skipped
	// Kept are those among them whose output stays as it is, because they can't be analysed here.
	Kept []scan.Kept
	// Diagnostics is all that is wrong, sorted. Where there is any, Changes is empty.
	Diagnostics diag.List
	// Warnings is what is accepted and worth a look, sorted. A run that finds nothing changed has none.
	Warnings diag.List
	// Changes is what has to change on disk, sorted by path.
	Changes []Change
	// Unchanged reports that an earlier run has left nothing to do and that nothing has changed since: then Packages and
	// Skipped are not looked up, and Annotated alone reports whether there are any of the former.
	Unchanged bool
	Annotated bool

	session *session
	scanned *scan.Result
}

// A Kind is why a file has to change.
type Kind string

const (
	Missing  Kind = "missing"  // it isn't there
	Stale    Kind = "stale"    // the code has changed since afgen wrote it
	Edited   Kind = "edited"   // it is not as afgen wrote it, because of an edit or a merge
	Orphaned Kind = "orphaned" // afgen wrote it, and no annotation asks for it any more
)

// A Change is one file to write, or to remove where New is nil.
type Change struct {
	Path string
	Kind Kind
	Old  []byte
	New  []byte
}

// Generate plans the output for the packages that patterns name, as seen from dir. Its error means that the packages
// could not be loaded at all; what is wrong with them is in the Plan.
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
		Packages: res.Packages, Skipped: res.Skipped, Diagnostics: res.Diagnostics, Warnings: res.Warnings, Annotated: len(res.Packages) > 0,
		session: session, scanned: res,
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
	if len(plan.Kept) == 0 { // the next run reports them again
		session.record(dir, res.Inputs, wanted)
	}
	return plan, nil
}

var outputNames = []string{emit.GoFile, emit.ContractFile}

var emitPackage = emit.Package // a test makes it fail

// wanted is what belongs to a package.
type wanted struct {
	dir   string // of the package
	ir    manifest.Sum
	files map[string]manifest.Sum // by path
	// contents has the files, by path; nil where an earlier run has made the same of the same, and they are still there.
	contents map[string][]byte
}

// emit makes the files of all packages. Formatting is most of a run's work, and packages don't share any of it.
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
			// The contract has sums of those.
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
			p.Diagnostics = append(p.Diagnostics, diag.Bug(p.Packages[i].Pos, "package "+p.Packages[i].IR.Path, bug, nil))
		}
	}
	p.Diagnostics.Sort()
	return out, nil
}

// compareWithDisk sets what has to change so that the disk has what is wanted and nothing older.
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
			return fmt.Errorf("%s was replaced while afgen was at work; run it again", path)
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

// Source returns the content of a file that a diagnostic is about.
func (p *Plan) Source(file string) ([]byte, error) {
	if p.scanned != nil {
		if src, ok := p.scanned.Source(file); ok {
			return src, nil
		}
	}
	return os.ReadFile(file)
}

// IR returns the packages' intermediate representation.
func (p *Plan) IR() []*ir.Package {
	var out []*ir.Package
	for _, pkg := range p.Packages {
		out = append(out, pkg.IR)
	}
	return out
}
