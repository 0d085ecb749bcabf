import { readFile } from 'node:fs/promises'
import * as assert from 'uvu/assert'
import { commands, compressionNumbers, errorTable } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('protocol/document')

const document = await readFile(new URL('../../../protocol/PROTOCOL.md', import.meta.url), 'utf8')

test('names every command with its number', () => {
  for (const { number, name } of Object.values(commands)) {
    assert.match(
      document,
      new RegExp(`### .*\\b${number} \`${name.replace('.', '\\.')}\``),
      `${number} ${name}`,
    )
  }
})

test('names every error with its number and whether it can be sent again', () => {
  for (const [code, { number, retryable }] of Object.entries(errorTable)) {
    assert.match(document, `| ${number} | ${code} | ${retryable ? 'yes' : 'no'} |`)
  }
})

test('names every codec with its number', () => {
  for (const [name, number] of Object.entries(compressionNumbers)) assert.match(document, `${number} ${name}`)
})

test('numbers are unique', () => {
  const numbers = Object.values(commands).map(({ number }) => number)
  assert.is(new Set(numbers).size, numbers.length)
  const errors = Object.values(errorTable).map(({ number }) => number)
  assert.is(new Set(errors).size, errors.length)
})

test.run()
