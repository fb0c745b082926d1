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

// A session loads the manifest of an earlier run and saves that of this one. A nil session does neither.
type session struct {
	store manifest.Store
	key   manifest.Key
	start time.Time
	old   *manifest.Manifest // nil if there is none
	taken *manifest.Manifest // of this run, set by record
}

// openSession loads the manifest of an earlier run. It returns nil if manifests are disabled or can't be trusted.
func openSession(dir string, patterns []string, opts Options) *session {
	if opts.Manifests == "" || opts.Env != nil {
		return nil
	}
	start := time.Now()
	key, err := manifest.KeyOf(manifest.Question{Dir: dir, Patterns: patterns, Tags: opts.Tags})
	if err != nil {
		return nil
	}
	return &session{store: opts.Manifests, key: key, start: start, old: opts.Manifests.Load(key)}
}

// unchanged returns the plan of a run that has nothing to do, or nil.
func (s *session) unchanged() *Plan {
	if s == nil || s.old == nil {
		return nil
	}
	unchanged, learned := s.old.Unchanged(s.start)
	if !unchanged {
		return nil
	}
	if learned {
		s.store.Save(s.key, s.old) // without it, the next run reads these files again
	}
	return &Plan{Unchanged: true, Annotated: s.old.Annotated}
}

// upToDate returns the checksums of a package's files by path, if an earlier run has generated them from the same
// representation and they are unchanged. Otherwise it returns nil.
func (s *session) upToDate(dir string, ir manifest.Sum) map[string]manifest.Sum {
	if s == nil || s.old == nil || s.old.Emitted[ir] == nil {
		return nil
	}
	files := map[string]manifest.Sum{}
	for name, sum := range s.old.Emitted[ir] {
		path := filepath.Join(dir, name)
		content, err := os.ReadFile(path)
		if err != nil || manifest.SumOf(content) != sum {
			return nil
		}
		files[path] = sum
	}
	return files
}

// record takes the manifest of the run, before files are written.
func (s *session) record(dir string, in scan.Inputs, all []wanted) {
	if s == nil || in.Unknown != "" {
		return
	}
	dirs := map[string]bool{}
	for _, dir := range in.Dirs {
		dirs[dir] = true
	}
	for _, w := range all {
		for path := range w.files {
			dirs[filepath.Dir(path)] = true
		}
	}
	taken, err := manifest.Take(s.start, manifest.Inputs{
		Dir: dir, Dirs: slices.Collect(maps.Keys(dirs)), Modules: in.Modules, Paths: in.Paths,
		GOROOT: in.GOROOT, Outputs: outputNames,
	}, s.old)
	if err != nil {
		return // files are being changed
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
	s.taken = taken
}

// save stores the manifest of this run, including the changes that it made. If it can't, the next run reads all files
// again.
func (s *session) save(changes []Change) {
	if s == nil || s.taken == nil {
		return
	}
	for _, c := range changes {
		if !s.taken.Wrote(c.Path, c.New) {
			return
		}
	}
	s.store.Save(s.key, s.taken)
}
