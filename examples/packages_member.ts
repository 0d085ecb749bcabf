/**
 * One member of a consumer group, as a process. It prints its messages and commits on stdout.
 *
 *     node packages_member.js SERVER TOPIC GROUP
 *
 * Lines: `seen PARTITION OFFSET KEY DIGEST` before it acknowledges a message, `confirmed PARTITION OFFSET` once the
 * broker has committed the offset (of the next message to read).
 */
import { createHash } from 'node:crypto'
import { connect, defineTopic } from 'millrace'

const [server = '', topic = '', group = ''] = process.argv.slice(2)
const stop = new AbortController()
process.once('SIGTERM', () => stop.abort())

const client = await connect(server)
const consumer = client.consume(defineTopic(topic), { group, from: 'earliest', signal: stop.signal })
for await (const batch of consumer.batches({ messagesMax: 500 })) {
  let report = ''
  for (const { partition, offset, key, value } of batch.messages) {
    const digest = createHash('sha1').update(value).digest('hex')
    report += `seen ${partition} ${offset} ${key} ${digest}\n`
  }
  await print(report)
  batch.ack()
  await consumer.commit()
  await print(`confirmed ${batch.partition} ${batch.lastOffset + 1}\n`)
}
await client.close()

function print(text: string): Promise<void> {
  return new Promise((resolve) => process.stdout.write(text, () => resolve()))
}
