package gen

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/afgen/afgen/gen/manifest"
	"github.com/afgen/afgen/gen/scan"
)

// A memory is what a run knows of earlier ones, and tells the next. A nil memory knows nothing and is told nothing.
type memory struct {
	store manifest.Store
	key   manifest.Key
	start time.Time
	old   *manifest.Manifest // nil where there is none
	taken *manifest.Manifest // of this run, once it is planned
}

// remember looks for the manifest of an earlier run; nil where manifests aren't to be used or can't be trusted.
func remember(dir string, patterns []string, opts Options) *memory {
	if opts.Manifests == "" || opts.Env != nil {
		return nil
	}
	start := time.Now()
	key, err := manifest.KeyOf(manifest.Question{Dir: dir, Patterns: patterns, Tags: opts.Tags})
	if err != nil {
		return nil
	}
	return &memory{store: opts.Manifests, key: key, start: start, old: opts.Manifests.Load(key)}
}

// unchanged returns the plan of a run that has nothing to do, if that is certain.
func (m *memory) unchanged() *Plan {
	if m == nil || m.old == nil {
		return nil
	}
	unchanged, learned := m.old.Unchanged(m.start)
	if !unchanged {
		return nil
	}
	if learned {
		m.store.Save(m.key, m.old) // or the next run looks again at what this one has
	}
	return &Plan{Unchanged: true, Annotated: m.old.Annotated}
}

// still returns the sums of a package's files, by path, if an earlier run has made them of the same representation and
// they are on disk.
func (m *memory) still(dir string, ir manifest.Sum) map[string]manifest.Sum {
	if m == nil || m.old == nil || m.old.Emitted[ir] == nil {
		return nil
	}
	files := map[string]manifest.Sum{}
	for name, sum := range m.old.Emitted[ir] {
		path := filepath.Join(dir, name)
		content, err := os.ReadFile(path)
		if err != nil || manifest.SumOf(content) != sum {
			return nil
		}
		files[path] = sum
	}
	return files
}

// take notes what the run has read, before anything is written.
func (m *memory) take(dir string, in scan.Inputs, all []wanted) {
	if m == nil || in.Unknown != "" {
		return
	}
	folders := map[string]bool{}
	for _, dir := range in.Folders {
		folders[dir] = true
	}
	for _, w := range all {
		for path := range w.files {
			folders[filepath.Dir(path)] = true
		}
	}
	taken, err := manifest.Take(m.start, manifest.Inputs{
		Dir: dir, Folders: slices.Collect(maps.Keys(folders)), Modules: in.Modules, Paths: in.Paths,
		GOROOT: in.GOROOT, Outputs: outputNames,
	}, m.old)
	if err != nil {
		return // something is being changed right now
	}
	taken.Annotated = len(all) > 0
	for _, w := range all {
		files := map[string]manifest.Sum{}
		for path, sum := range w.files {
			name, err := filepath.Rel(w.dir, path)
			if err != nil {
				return
			}
			files[name] = sum
		}
		taken.Emitted[w.ir] = files
	}
	m.taken = taken
}

// applied tells the next run that the changes have been made. What can't be kept, it does without.
func (m *memory) applied(changes []Change) {
	if m == nil || m.taken == nil {
		return
	}
	for _, c := range changes {
		if !m.taken.Wrote(c.Path, c.New) {
			return
		}
	}
	m.store.Save(m.key, m.taken) // or the next run reads all of it again
}
