import * as assert from 'uvu/assert'
import type { Cluster } from '../../client/cluster.js'
import { defineTopic, string } from '../../client/index.js'
import { peekQueue } from '../../client/queue_peek.js'
import { commands } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/queue_peek')

test('peek leaves out the messages of a topic that is deleted meanwhile', async (context) => {
  const harness = await Harness.start(context)
  const { client, cluster } = harness
  const topics = ['kept', 'deleted'].map((name) => defineTopic(name, { value: string }))
  for (const { name } of topics) await harness.createTopic(name)
  const worker = client.work(topics, { group: 'crew' }, () => {})
  await waitFor('the group', async () => (await client.queues.list()).some(({ group }) => group === 'crew'))
  await worker.close()
  for (const topic of topics) await client.publish(topic, { value: topic.name })
  const deletes = new Proxy(cluster, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown
      if (name !== 'call') return typeof value === 'function' ? value.bind(target) : value
      return async (...args: Parameters<Cluster['call']>) => {
        const reply = await target.call(...args)
        await target.call(commands.topicDelete, { topic: 'deleted' })
        return reply
      }
    },
  })
  const peeked = await peekQueue(deletes, 'crew', {})
  assert.equal(
    peeked.map(({ message }) => message.topic),
    ['kept'],
  )
})

test.run()
