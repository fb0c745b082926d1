package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxSize bounds a file, because the parser's time and memory grow with it.
const maxSize = 1 << 20

// Load reads and parses a file, with the environment of the process. If the file can't be read, the error wraps the
// operating system's: a missing file is fs.ErrNotExist, unlike an empty one. Otherwise errors are as in [Parse].
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	c, err := Parse(path, data, nil)
	if err != nil {
		return Config{}, err
	}
	if c.Root, err = filepath.Abs(filepath.Dir(path)); err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	return c, nil
}

// Parse parses the content of a file of at most 1 MiB; name is used in messages only. env looks up an environment
// variable and reports whether it is set; nil means os.LookupEnv. Parse accesses neither files nor the network.
//
// An error joins one [*Error] for each problem, and the Config is zero. With a nil error, every value is valid and
// [Config.Backend] succeeds.
func Parse(name string, data []byte, env func(string) (string, bool)) (Config, error) {
	if env == nil {
		env = os.LookupEnv
	}
	d := decoder{file: name, env: env, config: Default(), given: make(map[string]given)}
	top, problems := parseYAML(data)
	d.problems = problems
	if top != nil {
		d.top(top)
		d.check()
	}
	if err := join(name, d.problems, d.secrets); err != nil {
		return Config{}, err
	}
	return d.config, nil
}
