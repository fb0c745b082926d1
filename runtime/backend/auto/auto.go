// Package auto opens the backend that a configuration selects: the embedded file or the three servers. It imports all
// backends. A program that needs only one should import that one instead, and link no other.
//
//	cfg, err := auto.Load("")                                            // config.yaml, if it exists
//	app, err := af.Open(ctx, auto.From(cfg), auto.Options(cfg)...)
package auto

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/internal/appsettings"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
	"github.com/afgen/afgen/runtime/internal/machine/full"
)

// defaultFile is the file that Load("") reads. misnamedFile may be one that was meant to be read.
const (
	defaultFile  = "config.yaml"
	misnamedFile = "config.yml"
)

// Load reads the configuration file at path. If path is empty, it reads config.yaml in the working directory, or
// returns the defaults if that file doesn't exist. If there is a config.yml instead, it logs a warning to slog.Default.
func Load(path string) (config.Config, error) {
	if path != "" {
		return config.Load(path)
	}
	cfg, err := config.Load(defaultFile)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(misnamedFile); err == nil {
			slog.Warn("config.yaml does not exist, using the defaults; config.yml is not read: rename it")
		}
		return config.Default(), nil
	}
	return cfg, err
}

// From returns the backend that cfg selects. The sections tasks, workers and logger of cfg apply to the Apps that are
// opened on it. opts apply if it selects the three servers. Errors in cfg are reported when the backend is opened.
func From(cfg config.Config, opts ...servers.Option) af.Backend {
	kind, err := cfg.Backend()
	switch {
	case err != nil:
		return refused{backend.Errorf(backend.ErrInvalidArgument, "%w", err)}
	case kind == config.BackendServers:
		return servers.From(cfg, opts...)
	}
	var file []embedded.Option
	if cfg.Embedded.Durability == config.DurabilityFull {
		file = append(file, embedded.FullSync())
	}
	return configured{embedded.File(cfg.Embedded.Path, file...), appsettings.From(cfg)}
}

// configured is a backend that passes the settings of a configuration to its Apps.
type configured struct {
	backend.Backend
	settings backend.Settings
}

func (c configured) Settings() backend.Settings { return c.settings }

// Options returns cfg's options of the App: retention, lease, the address that instances report, facts about the
// machine, and the log. The log goes to the console, to daily files in logger.path, or to both; see package logs. It is
// opened with the App and closed by Shutdown. An af.Logger after these options replaces it, and no files are written.
// With the backend of [From], only the facts about the machine need these options. The section workers comes with that backend
// only.
func Options(cfg config.Config) []af.AppOption {
	opts := []af.AppOption{af.Retention(cfg.Tasks.Retention.Age, cfg.Tasks.Retention.Max), af.Lease(cfg.Tasks.Lease),
		af.WrongVersionAfter(cfg.Tasks.WrongVersionAfter), af.NodeFacts(describeNode),
		af.LogTo(appsettings.OpenLog(cfg.Logger))}
	if cfg.Tasks.IP != "" {
		opts = append(opts, af.IP(cfg.Tasks.IP))
	}
	return opts
}

// describeNode returns facts and load of this machine.
func describeNode(ctx context.Context) af.Node {
	f, u := full.Local.Describe(ctx), full.Local.Measure(ctx)
	return af.Node{
		ID: f.ID, Host: f.Host, OS: f.OS, Platform: f.Platform, PlatformVersion: f.Version, Kernel: f.Kernel, Arch: f.Arch,
		CPUs: f.CPUs, CPUModel: f.CPUModel, MemoryTotal: u.MemoryTotal, DiskTotal: u.DiskTotal,
		NodeSample: af.NodeSample{
			CPU: u.CPU, Load1: u.Load1, Load5: u.Load5, Load15: u.Load15, MemoryUsed: u.MemoryUsed, DiskUsed: u.DiskUsed,
		},
	}
}

// refused is a backend whose Open fails.
type refused struct{ err error }

func (r refused) Open(context.Context, backend.Env) (*backend.Ports, error) { return nil, r.err }
