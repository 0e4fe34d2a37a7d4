#include "base/intrusive_tree.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace keel {
namespace {

struct Item {
  u64 before = 0;  // so that the hook is not at offset 0
  u64 key = 0;
  u64 order = 0;
  TreeHook hook;
};
struct ByKey {
  u64 operator()(const Item& item) const { return item.key; }
};
using Tree = IntrusiveTree<Item, &Item::hook, ByKey>;

TEST(IntrusiveTree, EmptyTreeHasNothing) {
  Tree tree;
  EXPECT_TRUE(tree.empty());
  EXPECT_TRUE(tree.check());
  EXPECT_EQ(tree.first(), nullptr);
  EXPECT_EQ(tree.last(), nullptr);
  EXPECT_EQ(tree.find(1u), nullptr);
  EXPECT_EQ(tree.pop_first(), nullptr);
}

TEST(IntrusiveTree, EqualKeysLeaveInOrderOfInsertion) {
  Tree tree;
  std::vector<std::unique_ptr<Item>> items;
  for (u64 i = 0; i < 300; ++i) {
    items.push_back(std::make_unique<Item>());
    items.back()->key = i % 3;
    items.back()->order = i;
    tree.insert(*items.back());
  }
  u64 last_key = 0;
  u64 last_order = 0;
  u64 count = 0;
  while (Item* item = tree.pop_first()) {
    if (count++ > 0 && item->key == last_key) {
      EXPECT_GT(item->order, last_order);
    }
    EXPECT_GE(item->key, last_key);
    last_key = item->key;
    last_order = item->order;
    EXPECT_FALSE(item->hook.linked());
  }
  EXPECT_EQ(count, 300u);
}

TEST(IntrusiveTree, BoundsFindTheNeighboursOfAKey) {
  Tree tree;
  Item items[10];
  for (u64 i = 0; i < 10; ++i) {
    items[i].key = i * 10;
    tree.insert(items[i]);
  }
  EXPECT_EQ(tree.lower_bound(20u), &items[2]);
  EXPECT_EQ(tree.lower_bound(21u), &items[3]);
  EXPECT_EQ(tree.upper_bound(20u), &items[3]);
  EXPECT_EQ(tree.last_not_above(29u), &items[2]);
  EXPECT_EQ(tree.last_not_above(30u), &items[3]);
  EXPECT_EQ(tree.lower_bound(91u), nullptr);
  EXPECT_EQ(tree.find(50u), &items[5]);
  EXPECT_EQ(tree.find(51u), nullptr);
  while (tree.pop_first() != nullptr) {
  }
}

TEST(IntrusiveTree, AscendingAndDescendingInsertionsStayBalanced) {
  for (bool ascending : {true, false}) {
    Tree tree;
    std::vector<Item> items(4096);
    for (u64 i = 0; i < items.size(); ++i) {
      items[i].key = ascending ? i : items.size() - i;
      tree.insert(items[i]);
    }
    EXPECT_TRUE(tree.check());
    for (Item& item : items) tree.erase(item);
    EXPECT_TRUE(tree.empty());
  }
}

// KEEL_SEED=n repeats a run.
TEST(IntrusiveTree, AgreesWithMultimapInRandomOperations) {
  const char* wanted = std::getenv("KEEL_SEED");
  const u64 seed = wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : std::random_device{}();
  SCOPED_TRACE(testing::Message() << "KEEL_SEED=" << seed);
  std::printf("KEEL_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20; ++round) {
    const u64 key_range = round % 2 == 0 ? 20 : 100000;
    Tree tree;
    std::multimap<u64, Item*> model;  // also FIFO among equal keys (since C++11)
    std::vector<Item> items(400);
    std::vector<std::multimap<u64, Item*>::iterator> where(items.size(), model.end());
    for (int step = 0; step < 3000; ++step) {
      const usize i = random() % items.size();
      if (items[i].hook.linked()) {
        tree.erase(items[i]);
        model.erase(where[i]);
      } else {
        items[i].key = random() % key_range;
        tree.insert(items[i]);
        where[i] = model.insert({items[i].key, &items[i]});
      }
      const u64 probe = random() % key_range;
      const auto pointer = [&](auto it) { return it == model.end() ? nullptr : it->second; };
      ASSERT_EQ(tree.lower_bound(probe), pointer(model.lower_bound(probe)));
      ASSERT_EQ(tree.upper_bound(probe), pointer(model.upper_bound(probe)));
      const auto above = model.upper_bound(probe);
      ASSERT_EQ(tree.last_not_above(probe), above == model.begin() ? nullptr : std::prev(above)->second);
      ASSERT_EQ(tree.first(), pointer(model.begin()));
      ASSERT_EQ(tree.last(), model.empty() ? nullptr : std::prev(model.end())->second);
      ASSERT_EQ(tree.empty(), model.empty());
      if (step % 100 == 0) {
        ASSERT_TRUE(tree.check());
        Item* item = tree.first();
        for (const auto& [key, expected] : model) {
          ASSERT_EQ(item, expected);
          item = tree.next(*item);
        }
        ASSERT_EQ(item, nullptr);
      }
    }
    while (tree.pop_first() != nullptr) ASSERT_TRUE(tree.check());
  }
}

}  // namespace
}  // namespace keel
