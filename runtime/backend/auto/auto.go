// Package auto opens the backend that a configuration asks for: the embedded file, or the three servers. It imports all of
// them; a program that knows what it runs on imports that one and links no other.
//
//	cfg, err := auto.Load("")                                            // config.yaml, if there is one
//	app, err := af.Open(ctx, auto.From(cfg), auto.Options(cfg)...)
package auto

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
	"github.com/afgen/afgen/runtime/internal/machine/full"
	"github.com/afgen/afgen/runtime/logs"
)

// defaultFile is what Load looks for in the working directory.
const defaultFile = "config.yaml"

// Load reads the configuration file path. Where path is "" it reads config.yaml in the working directory, and returns the
// defaults if there is none.
func Load(path string) (config.Config, error) {
	if path != "" {
		return config.Load(path)
	}
	cfg, err := config.Load(defaultFile)
	if errors.Is(err, fs.ErrNotExist) {
		return config.Default(), nil
	}
	return cfg, err
}

// From returns the backend that cfg asks for. What is wrong with that surfaces when it is opened.
func From(cfg config.Config) af.Backend {
	kind, err := cfg.Backend()
	switch {
	case err != nil:
		return refused{backend.Errorf(backend.ErrInvalidArgument, "%w", err)}
	case kind == config.BackendServers:
		return servers.From(cfg)
	}
	var opts []embedded.Option
	if cfg.Embedded.Durability == config.DurabilityFull {
		opts = append(opts, embedded.FullSync())
	}
	return embedded.File(cfg.Embedded.Path, opts...)
}

// Options returns what cfg says of the App itself: how long finished tasks are kept, the lease, the address that instances
// report, the facts of the machine, and the log: to the console and to daily files in logger.path, as package logs has it, opened with the App and
// closed by its Shutdown. An af.Logger after these takes its place, and then no files are written.
func Options(cfg config.Config) []af.AppOption {
	opts := []af.AppOption{af.Retention(cfg.Tasks.Retention.Age, cfg.Tasks.Retention.Max), af.Lease(cfg.Tasks.Lease),
		af.WrongVersionAfter(cfg.Tasks.WrongVersionAfter), af.NodeFacts(describeNode),
		af.LogTo(func() (slog.Handler, func() error, error) {
			l, err := logs.Open(logs.Options{Dir: cfg.Logger.Path, Level: cfg.Logger.Level})
			if err != nil {
				return nil, nil, err
			}
			return l.Handler(), l.Close, nil
		})}
	if cfg.Tasks.IP != "" {
		opts = append(opts, af.IP(cfg.Tasks.IP))
	}
	return opts
}

// describeNode describes this machine, on each operating system.
func describeNode(ctx context.Context) af.Node {
	f, u := full.Local.Describe(ctx), full.Local.Measure(ctx)
	return af.Node{
		ID: f.ID, Host: f.Host, OS: f.OS, Platform: f.Platform, PlatformVersion: f.Version, Kernel: f.Kernel, Arch: f.Arch,
		CPUs: f.CPUs, CPUModel: f.CPUModel, MemoryTotal: u.MemoryTotal, DiskTotal: u.DiskTotal,
		NodeSample: af.NodeSample{CPU: u.CPU, Load1: u.Load1, Load5: u.Load5, Load15: u.Load15, MemoryUsed: u.MemoryUsed, DiskUsed: u.DiskUsed},
	}
}

// refused is a backend that can't be opened.
type refused struct{ err error }

func (r refused) Open(context.Context, backend.Env) (*backend.Ports, error) { return nil, r.err }
