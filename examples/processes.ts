/** Runs a broker, commands and members in processes of their own for the examples. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'

/**
 * Starts a broker and waits until it serves. @param cli path of the built command line @param port 0 picks a free one
 */
export async function startServe(
  cli: string,
  data: string,
  port = 0,
): Promise<{ server: string; child: ChildProcess }> {
  const child = spawn(process.execPath, [cli, 'serve', '--data', data, '--port', String(port)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  for await (const line of createInterface({ input: child.stderr })) {
    const address = /ready on (\S+:\d+)/.exec(line)?.[1]
    if (address === undefined) continue
    child.stderr.resume()
    return { server: address, child }
  }
  throw new Error('the broker ended before it was ready')
}

/** Runs a command of the command line to its end. @throws Error if it fails */
export async function runToEnd(cli: string, args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [cli, ...args], { stdio: 'inherit' })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`millrace ${args[0]} ended with ${code}`)
}

/** Resolves when the process has ended. */
export function hasEnded(child: ChildProcess): Promise<unknown> {
  return child.exitCode === null && child.signalCode === null ? once(child, 'close') : Promise.resolve()
}

/** Reads the lines of a file; decompresses it if its name ends in .gz. */
export async function textLines(file: string): Promise<string[]> {
  const raw = await readFile(file)
  const text = (file.endsWith('.gz') ? gunzipSync(raw) : raw).toString('utf8')
  const lines = text.split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines
}

/** Path of a file beside this one. */
export function pathOf(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url))
}
