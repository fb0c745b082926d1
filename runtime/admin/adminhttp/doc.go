// Package adminhttp serves an [admin.API] over HTTP, and has a client that is an [admin.API] again.
//
//	ops, err := adminhttp.Handler(admin.New(app), adminhttp.Options{Authorize: userOf})
//	mux.Handle("/ops/", http.StripPrefix("/ops", ops))
//
//	api, err := adminhttp.NewClient("https://example.com/ops", adminhttp.ClientOptions{})
//
// # Routes
//
// Each method has a route below /api/v1/: see [Routes]. Reads are GET requests whose parameters are in the query.
// Changes are POST requests with a JSON object: its member args has the arguments, and action has reason, dry_run and
// create. Answers are JSON, with times as in RFC 3339 and durations in nanoseconds. Errors are problem details of package
// httpstatus. Unlike there, their texts are sent whole, since the users operate the system.
//
// Logs and Watch are streams of server-sent events: an event has a JSON value; an event named error has problem details
// and is the last one, as is one named end. A stream without either was cut. Comments keep idle streams open.
//
// # Rights
//
// Handler asks Authorize who makes a request and serves it through [admin.Guard]. The right is checked before the body
// is read or the target is looked up. A user who may change nothing gets 403 for every request that is not a read,
// whatever its path. Cross-origin requests that are not safe are refused by [http.CrossOriginProtection].
package adminhttp
