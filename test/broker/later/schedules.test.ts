import * as assert from 'uvu/assert'
import { commands, isMillraceError } from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'
import { batchOf, ControlledEngines, createTopic, testBroker, testClient } from '../harness.js'

const test = suite('broker/later/schedules')

test('a schedule for a topic that is being deleted is refused, and the previous schedule stays', async (context) => {
  const engines = new ControlledEngines()
  const client = await testClient(context, await testBroker(context, { engines }))
  for (const topic of ['keep', 'gone']) await createTopic(client, topic)
  const cron = '0 0 1 1 *'
  const set = (topic: string) =>
    client.request(commands.scheduleSet, { name: 'daily', topic, cron }, batchOf(['a']))
  await set('keep')
  engines.hold()
  const deletion = client.request(commands.topicDelete, { topic: 'gone' })
  const setting = set('gone').catch((error: unknown) => error)
  await client.request(commands.ping, {})
  engines.release()
  await deletion
  assert.ok(isMillraceError(await setting, 'UNKNOWN_TOPIC'))
  const { body } = await client.request(commands.scheduleList, {})
  assert.equal(
    body.schedules.map(({ name, topic }) => [name, topic]),
    [['daily', 'keep']],
  )
})

test.run()
