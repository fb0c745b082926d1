package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxSize bounds a file: more is a mistake, and the parser's time and memory grow with it.
const maxSize = 1 << 20

// Load reads and parses a file, with the environment of the process. When the file can't be read, the error wraps the
// operating system's (a missing file is fs.ErrNotExist, never taken for an empty one); else it is as of [Parse].
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

// Parse parses data, the content of a file, at most 1 MiB; name is only for messages. env looks up an environment
// variable and reports whether it is set; nil means os.LookupEnv. Neither files nor the network are touched.
//
// An error joins one [*Error] for each problem, and the Config is the zero one then. With a nil error every value is
// within its limits and [Config.Backend] succeeds.
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
