import * as assert from 'uvu/assert'
import { commandOf, commands, decodeBody, frameFlags, readErrorBody } from '../../../protocol/index.js'
import { testBroker } from '../../broker/harness.js'
import { suite } from '../../helpers/suite.js'
import { partsOf } from './frame_bytes.js'
import { recordTraffic, type Sample } from './recorder.js'

const test = suite('faults/hostile/recorder')

function missing(samples: readonly Sample[]): string[] {
  const recorded = new Set(samples.map((sample) => sample.command))
  return Object.values(commands)
    .filter((command) => !recorded.has(command.number))
    .map((command) => command.name)
}

test('every command of the table is recorded, request and reply, and all of it can be read', async (context) => {
  const broker = await testBroker(context)
  const { requests, replies } = await recordTraffic(context, broker.address.port)
  assert.equal(missing(requests), [], 'requests without a sample')
  assert.equal(missing(replies), [], 'replies without a sample')
  for (const { command, bytes } of requests)
    commandOf(command)?.request.read(decodeBody(partsOf(bytes).body), '')
  let refusals = 0
  for (const { command, bytes } of replies) {
    const { flags, body } = partsOf(bytes)
    if ((flags & frameFlags.error) === 0) commandOf(command)?.reply.read(decodeBody(body), '')
    else refusals += readErrorBody(decodeBody(body)).message.length > 0 ? 1 : 0
  }
  assert.ok(refusals >= 3, 'error replies are among them')
  assert.not(
    missing(requests.filter((sample) => sample.command !== commands.groupSeek.number)).length === 0,
    'a command without a sample is noticed',
  )
})

test.run()
