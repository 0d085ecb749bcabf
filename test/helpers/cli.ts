import * as assert from 'uvu/assert'
import { startBroker } from '../../broker/index.js'
import { type Client, connect } from '../../client/index.js'
import { type Exit, type SpawnOptions, spawnMillrace } from './spawn.js'
import type { TestContext } from './suite.js'

export interface Ran extends Exit {
  readonly stdout: string
  readonly stderr: string
}

/** Runs the command to its end, as a user without a terminal. */
export async function run(
  context: TestContext,
  args: readonly string[],
  input: string | Buffer = '',
  options?: SpawnOptions,
): Promise<Ran> {
  const child = spawnMillrace(context, args, options)
  child.stdin.end(input)
  const exit = await child.exited
  return { ...exit, ...child.output }
}

/** The output of a command that must succeed. */
export function ok(ran: Ran): string {
  assert.is(ran.code, 0, ran.stderr)
  return ran.stdout
}

/** A broker inside the test, and its address as arguments. */
export async function brokerFor({ defer }: TestContext): Promise<readonly [string, string]> {
  const broker = await startBroker({ engine: 'memory', port: 0, logLevel: 'silent' })
  defer(() => broker.close())
  return ['--server', `127.0.0.1:${broker.address.port}`]
}

/** A client of that broker, closed at the end of the test. */
export async function clientFor(
  { defer }: TestContext,
  [, address]: readonly [string, string],
): Promise<Client> {
  const client = await connect(address)
  defer(() => client.close({ timeoutMs: 0 }))
  return client
}
