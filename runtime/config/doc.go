// Package config reads config.yaml, which configures an afgen program.
//
// Without a file, or with an empty one, a program runs on the embedded backend and needs nothing installed. A file
// with the sections mongodb, redis and rabbitmq runs the same program on those servers. A file with only one or two
// of these sections is an error. A complete file, with defaults and plausible values:
//
//	mongodb:
//	  host: 127.0.0.1
//	  port: 27017
//	  db: astraflux
//	  username: scheduleAdmin
//	  password: ${MONGODB_PASSWORD}
//
//	redis:
//	  host: 127.0.0.1
//	  port: 6379
//	  password: ${REDIS_PASSWORD:-}
//	  tls:
//	    enabled: true
//	    ca_file: /etc/ssl/redis-ca.pem
//
//	rabbitmq:
//	  uri: amqps://app:${RABBITMQ_PASSWORD}@broker.example.com/orders
//
//	servers:
//	  start_degraded: true
//
//	logger:
//	  path: logs
//	  level: INFO
//	  console: true
//	  format: text
//
//	tasks:
//	  retention:
//	    age: 168h
//	    max: 100000
//	  lease: 20s
//	  wrong_version_after: 24h
//
//	dashboard:
//	  listen: 127.0.0.1:8090
//	  write: false
//
//	workers:
//	  resize:
//	    max: 4
//	    retries: 5
//	    timeout: 30s
//	    backoff: 2s
//	    backoff_max: 1m
//
// [Load] reads a file, [Parse] parses its content, [Default] returns the configuration of an empty file, and [Keys]
// describes every key, for documentation.
//
// # Strictness
//
// Unknown and repeated keys, values of the wrong type or out of range, and keys without a value are errors. All of
// them are reported together, sorted by position. Each is an [*Error] with file, line and column. To iterate over
// them:
//
//	if joined, ok := err.(interface{ Unwrap() []error }); ok {
//		for _, e := range joined.Unwrap() { … }
//	}
//
// A section may be empty ("redis:"); it is present and has all its defaults. Other values can't be omitted, because
// YAML drops an unquoted value that begins with # as a comment, even a password; write "" for an empty string. Quotes
// don't change a value: password: 1234 is the string 1234. Anchors and aliases work; merge keys (<<) and custom tags
// don't.
//
// # Environment variables
//
// ${NAME} in a value is replaced by an environment variable, which must be set. ${NAME:-text} falls back to the text
// if the variable is unset or empty. $${ is a literal ${. In a flow mapping { }, quote values that contain ${NAME};
// otherwise YAML reads the brace as its own. Variables are expanded after YAML parsing, so their content is always
// part of one value, and only once. In a uri, a password from a variable must be percent-encoded; in a password key
// it must not be.
//
// # Secrets
//
// Passwords and uris have type [Secret], which prints, marshals and logs as "[redacted]". Errors of this package
// contain neither secrets nor values from the environment.
package config
