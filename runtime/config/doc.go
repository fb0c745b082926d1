// Package config reads config.yaml, the one file that says what an afgen program runs on.
//
// A program with no such file, or an empty one, needs nothing installed: it runs on the embedded backend. A file with
// the three sections mongodb, redis and rabbitmq runs the same program over those servers; a file with only one or two
// of them is an error, since running half on each is never what was meant. A complete file, with everything at its
// default or plausible:
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
//
//	tasks:
//	  retention:
//	    age: 168h
//	    max: 100000
//	  lease: 10s
//	  wrong_version_after: 24h
//
// [Load] reads a file, [Parse] the bytes of one, [Default] is what an empty one means, and [Keys] describes every key
// there is, for documentation.
//
// # Strictness
//
// An unknown or repeated key, a value of the wrong type or out of range, a key without a value: each is an error, and
// all of them are reported together, sorted, each an [*Error] that says file, line and column. To go through them:
//
//	if joined, ok := err.(interface{ Unwrap() []error }); ok {
//		for _, e := range joined.Unwrap() { … }
//	}
//
// A section may stand without keys ("redis:"): it is there, and all its keys have their defaults. A value may not be
// left out, because YAML takes an unquoted value that begins with # for a comment and drops it, passwords too; write ""
// for an empty text. What counts is the text of a value, quoted or not: password: 1234 is the text 1234. Anchors and
// aliases work, merge keys (<<) and tags of one's own don't.
//
// # Environment variables
//
// ${NAME} in a value stands for an environment variable, which must be set; ${NAME:-text} falls back to the text where
// the variable is unset or empty; $${ is a literal ${. Within { } a value with ${NAME} in it must be quoted, or YAML
// takes its brace for one of its own. Expansion happens after the YAML has been understood, so
// whatever a variable holds stays one value. An expanded value is not expanded again. In a uri, a password out of a
// variable must already be percent-encoded; with host and password as keys of their own it need not be.
//
// # Secrets
//
// Passwords and uris are of type [Secret], which prints, marshals and logs as "[redacted]". No error of this package
// shows one, nor anything that came from the environment.
package config
