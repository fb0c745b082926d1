package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A bareAMQP makes calls as the client library of RabbitMQ documents them: a request to the server's queue, a direct
// reply-to, both mandatory, and an acknowledgement of each request. Client and server each have one connection.
type bareAMQP struct{}

const bareQueue = "echo"

func (bareAMQP) serve(_ context.Context, s site) (stop, error) {
	conn, err := amqp.Dial(s.AMQP)
	if err != nil {
		return nil, err
	}
	in, inErr := conn.Channel()
	out, outErr := conn.Channel()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	var requests <-chan amqp.Delivery
	if _, err = in.QueueDeclare(bareQueue, false, true, false, false, nil); err == nil {
		err = in.Qos(2048, 0, false)
	}
	if err == nil {
		requests, err = in.Consume(bareQueue, "", false, false, false, false, nil)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	var served sync.WaitGroup
	var failed error
	served.Go(func() {
		for d := range requests {
			var args payload
			failed = json.Unmarshal(d.Body, &args)
			var body []byte
			if failed == nil {
				body, failed = json.Marshal(args)
			}
			if failed == nil {
				failed = out.Publish("", d.ReplyTo, true, false,
					amqp.Publishing{CorrelationId: d.CorrelationId, ContentType: "application/json", Body: body})
			}
			if failed == nil {
				failed = d.Ack(false)
			}
			if failed != nil {
				return
			}
		}
	})
	return func(context.Context) error {
		err := conn.Close()
		served.Wait()
		return errors.Join(failed, err)
	}, nil
}

func (bareAMQP) dial(_ context.Context, s site) (call, stop, error) {
	conn, err := amqp.Dial(s.AMQP)
	if err != nil {
		return nil, nil, err
	}
	c := &bareCaller{waiting: map[string]chan<- amqp.Delivery{}}
	var replies <-chan amqp.Delivery
	if c.ch, err = conn.Channel(); err == nil {
		replies, err = c.ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	var received sync.WaitGroup
	received.Go(func() { c.receive(replies) })
	return c.call, func(context.Context) error {
		err := conn.Close()
		received.Wait()
		return err
	}, nil
}

// A bareCaller has the calls that wait for replies, by correlation id.
type bareCaller struct {
	ch      *amqp.Channel
	mu      sync.Mutex
	last    int64
	waiting map[string]chan<- amqp.Delivery
}

// receive passes replies to the waiting calls.
func (c *bareCaller) receive(replies <-chan amqp.Delivery) {
	for d := range replies {
		c.mu.Lock()
		to := c.waiting[d.CorrelationId]
		delete(c.waiting, d.CorrelationId)
		c.mu.Unlock()
		if to != nil {
			to <- d
		}
	}
}

func (c *bareCaller) call(ctx context.Context) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	got := make(chan amqp.Delivery, 1)
	c.mu.Lock()
	c.last++
	id := strconv.FormatInt(c.last, 36)
	c.waiting[id] = got
	c.mu.Unlock()
	err = c.ch.Publish("", bareQueue, true, false, amqp.Publishing{
		CorrelationId: id, ReplyTo: "amq.rabbitmq.reply-to", ContentType: "application/json", Body: body,
	})
	if err != nil {
		return err
	}
	select {
	case d := <-got:
		var reply payload
		return checkEcho(reply, json.Unmarshal(d.Body, &reply))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
