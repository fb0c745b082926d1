"""Calls a service over RabbitMQ with nothing but pika and docs/wire.md."""
import json
import sys
import uuid

import pika

connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
replies, returned = {}, set()
channel.basic_consume(
    "amq.rabbitmq.reply-to",  # consume first, and publish on the same channel
    lambda ch, method, properties, body: replies.update({properties.correlation_id: (properties, body)}),
    auto_ack=True,
)
channel.add_on_return_callback(lambda ch, method, properties, body: returned.add(properties.correlation_id))


def call(service, method, args, seconds=5):
    id = str(uuid.uuid4())
    channel.basic_publish(
        exchange="af.rpc",
        routing_key=service,
        mandatory=True,
        body=json.dumps(args),
        properties=pika.BasicProperties(
            type=f"{service}/{method}",
            content_type="application/json",
            correlation_id=id,
            reply_to="amq.rabbitmq.reply-to",
            message_id=id,
            app_id="script",
            delivery_mode=1,
            expiration=str(seconds * 1000),
            headers={"af-v": "1", "af-timeout-ms": seconds * 1000, "af-md-user": "ann"},
        ),
    )
    while id not in replies and id not in returned:
        connection.process_data_events(time_limit=seconds)
    if id in returned:
        raise RuntimeError(f"no instance of {service}")
    properties, body = replies.pop(id)
    headers = properties.headers
    if "af-code" in headers:
        raise RuntimeError(f"{headers['af-code']}: {headers['af-msg']}")
    return f"{json.loads(body)} by {headers['af-srv']}"


for service, args in ("calc", {"x": 6, "y": 3}), ("calc", {"x": 6, "y": 0}), ("missing", {}):
    try:
        print(call(service, "Div", args))
    except RuntimeError as e:
        print(e)
connection.close()
