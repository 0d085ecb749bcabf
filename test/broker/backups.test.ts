import { crc32 } from 'node:zlib'
import * as assert from 'uvu/assert'
import { Backups } from '../../broker/backups.js'
import type { Shard } from '../../broker/shard.js'
import { commands, isMillraceError } from '../../protocol/index.js'
import { decodeEntries } from '../../storage/backup_entries.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { batchOf, createTopic, publish, testBroker, testClient } from './harness.js'

const test = suite('broker/backups')

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => assert.unreachable('it did not fail'),
    (error) => error,
  )

test('the last chunk can be read again, the next one follows, and no other', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders')
  await publish(client, [topicId, 0, batchOf(['a'])])
  const { body: begun } = await client.request(commands.backupBegin, {})
  const { backupId } = begun
  const read = (chunk: number) => client.request(commands.backupRead, { backupId, chunk })
  assert.ok(isMillraceError(await failure(read(1)), 'BAD_REQUEST'))
  const first = await read(0)
  assert.is(first.body.part, 'state')
  assert.equal(await read(0).then(({ payload }) => Buffer.from(payload)), Buffer.from(first.payload))
  assert.is(first.body.checksum, crc32(first.payload))
  assert.is(decodeEntries(Buffer.from(first.payload)).length, first.body.entries)
  const second = await read(1)
  assert.is(second.body.part, 'journal')
  assert.is(second.body.entries, begun.position)
  assert.ok(isMillraceError(await failure(read(0)), 'BAD_REQUEST'))
  assert.is((await read(2)).body.part, undefined)
  assert.is((await read(2)).body.part, undefined)
  await client.request(commands.backupEnd, { backupId })
  assert.ok(isMillraceError(await failure(read(2)), 'UNKNOWN_BACKUP'))
})

test('there is one backup at a time', async (context) => {
  const broker = await testBroker(context)
  const [one, two] = [await testClient(context, broker), await testClient(context, broker)]
  const { body } = await one.request(commands.backupBegin, {})
  assert.ok(isMillraceError(await failure(two.request(commands.backupBegin, {})), 'BACKUP_RUNNING'))
  await one.request(commands.backupEnd, { backupId: body.backupId })
  await two.request(commands.backupBegin, {})
})

test('a backup that nobody reads ends', async () => {
  let closed = 0
  const source = { position: 7, read: async () => undefined, close: async () => void closed++ }
  const shard = { store: { beginBackup: async () => source } } as unknown as Shard
  const backups = new Backups(shard, 1)
  const { id } = await backups.begin()
  await waitFor('the backup to end', () => closed === 1)
  assert.ok(isMillraceError(await failure(backups.read(id, 0)), 'UNKNOWN_BACKUP'))
})

test.run()
