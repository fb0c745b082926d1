package config_test

import (
	"fmt"

	"github.com/afgen/afgen/runtime/config"
)

func ExampleParse() {
	env := map[string]string{"BROKER_PASSWORD": "p@ss/word"}
	cfg, err := config.Parse("config.yaml", []byte(`
mongodb:
  host: db.example.com
redis:
  port: ${REDIS_PORT:-6380}
rabbitmq:
  username: app
  password: ${BROKER_PASSWORD}
`), func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	backend, _ := cfg.Backend()
	fmt.Println(backend, cfg.MongoDB.Address(), cfg.Redis.Address())
	fmt.Println(cfg.RabbitMQ.Password, cfg.RabbitMQ.ConnectionURI())
	fmt.Println(cfg.RabbitMQ.ConnectionURI().Reveal())
	// Output:
	// servers db.example.com:27017 127.0.0.1:6380
	// [redacted] [redacted]
	// amqp://app:p%40ss%2Fword@127.0.0.1:5672/%2F
}

func ExampleParse_problems() {
	_, err := config.Parse("config.yaml", []byte(`
logger:
  levle: debug
tasks:
  lease: 1s
`), nil)
	fmt.Println(err)
	// Output:
	// config.yaml:3:3: unknown key "levle" in logger; did you mean "level"?
	// config.yaml:5:10: tasks.lease must be a duration with its unit, such as 90s or 24h, of at least 3s, not "1s"
}

// The keys as a Markdown table.
func ExampleKeys() {
	fmt.Println("| key | type | default | |\n|---|---|---|---|")
	for _, k := range config.Keys() {
		if len(k.Name) >= 5 && k.Name[:5] == "tasks" {
			fmt.Printf("| %s | %s | %s | %s |\n", k.Name, k.Type, k.Default, k.Doc)
		}
	}
	// Output:
	// | key | type | default | |
	// |---|---|---|---|
	// | tasks | mapping |  | the task engine, on either backend |
	// | tasks.retention | mapping |  | how long finished tasks are kept; the limit reached first applies |
	// | tasks.retention.age | duration | 168h | age at which a finished task is removed |
	// | tasks.retention.max | integer | 100000 | maximum number of finished tasks kept in a queue |
	// | tasks.lease | duration | 20s | time without heartbeats after which an instance counts as dead and others take over its tasks, at least 3s |
	// | tasks.wrong_version_after | duration | 24h | how long a task submitted by another version of the program waits for a worker of that version |
	// | tasks.ip | IP address |  | address this instance reports; detected if unset |
}
