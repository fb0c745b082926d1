package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxSize bounds a file, because the parser's time and memory grow with it.
const maxSize = 1 << 20

// Load reads and parses a file, with the environment of the process. If the file can't be read, the error wraps the
// operating system's: a missing file is fs.ErrNotExist, unlike an empty one. Otherwise errors are as in [Parse].
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if other := misnamed(path); errors.Is(err, fs.ErrNotExist) && other != "" {
		return Config{}, fmt.Errorf("config: %w; %s exists and is not read: rename it", err, other)
	}
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
	if c.File, err = filepath.Abs(path); err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	c.Root = filepath.Dir(c.File)
	return c, nil
}

// misnamed returns the path of an existing file that has the extension yml where path has yaml, or the reverse. It
// returns "" if there is none.
func misnamed(path string) string {
	base, isYAML := strings.CutSuffix(path, ".yaml")
	other := base + ".yml"
	if !isYAML {
		base, isYML := strings.CutSuffix(path, ".yml")
		if other = base + ".yaml"; !isYML {
			return ""
		}
	}
	if _, err := os.Stat(other); err != nil {
		return ""
	}
	return other
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
