import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import * as assert from 'uvu/assert'
import { combineCrc32 } from '../../storage/crc32.js'
import { suite } from '../helpers/suite.js'

const test = suite('storage/crc32')

test('the checksum of two runs follows from the checksums of both', () => {
  for (const secondBytes of [0, 1, 7, 255, 4096, 65_519, 262_128, 1_048_577]) {
    for (const firstBytes of [0, 1, 40, 70_000]) {
      const bytes = randomBytes(firstBytes + secondBytes)
      const first = crc32(bytes.subarray(0, firstBytes))
      const second = crc32(bytes.subarray(firstBytes))
      assert.is(
        combineCrc32(first, second, secondBytes),
        crc32(bytes),
        `${firstBytes} and ${secondBytes} bytes`,
      )
    }
  }
})

test.run()
