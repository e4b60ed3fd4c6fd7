#pragma once
// The object type behind hs::Json: keeps the order of keys, as nlohmann's ordered_map does, and
// finds a key in constant time. ordered_map alone searches from the front, which makes reading a
// vocabulary of 250,000 entries or a header of 500,000 tensors quadratic.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace hs {

template <class Key, class T, class Less = std::less<Key>,
          class Allocator = std::allocator<std::pair<const Key, T>>>
struct IndexedMap : nlohmann::ordered_map<Key, T, Less, Allocator> {
    using Base = nlohmann::ordered_map<Key, T, Less, Allocator>;
    using typename Base::const_iterator;
    using typename Base::iterator;
    using typename Base::size_type;
    using typename Base::value_type;

    IndexedMap() = default;
    template <class It>
    IndexedMap(It first, It last, const Allocator& allocator = Allocator())
        : Base(allocator) {
        insert(first, last);
    }
    IndexedMap(std::initializer_list<value_type> init, const Allocator& allocator = Allocator())
        : IndexedMap(init.begin(), init.end(), allocator) {}

    template <class K, class V>
    std::pair<iterator, bool> emplace(K&& key, V&& value) {
        const auto found = find(std::string_view(key));
        if (found != this->end()) {
            return {found, false};
        }
        Base::Container::emplace_back(std::forward<K>(key), std::forward<V>(value));
        const auto last = std::prev(this->end());
        if (this->size() > kUnindexed) {
            if (m_index.empty()) {
                rebuild();
            } else {
                m_index.emplace(hash(last->first), static_cast<std::uint32_t>(this->size() - 1));
            }
        }
        return {last, true};
    }
    std::pair<iterator, bool> insert(value_type&& value) {
        return emplace(value.first, std::move(value.second));
    }
    std::pair<iterator, bool> insert(const value_type& value) {
        return emplace(value.first, T(value.second));
    }
    template <class It>
    void insert(It first, It last) {
        for (; first != last; ++first) {
            insert(value_type(*first));
        }
    }

    iterator find(std::string_view key) {
        return this->begin() + static_cast<std::ptrdiff_t>(position(key));
    }
    const_iterator find(std::string_view key) const {
        return this->begin() + static_cast<std::ptrdiff_t>(position(key));
    }
    size_type count(std::string_view key) const { return position(key) < this->size() ? 1 : 0; }
    template <class K>
    T& operator[](K&& key) {
        return emplace(std::forward<K>(key), T{}).first->second;
    }

    size_type erase(std::string_view key) {
        const auto found = find(key);
        if (found == this->end()) {
            return 0;
        }
        erase(found);
        return 1;
    }
    iterator erase(iterator at) { return erase(at, std::next(at)); }
    iterator erase(iterator first, iterator last) {
        const auto next = Base::erase(first, last);
        rebuild();
        return next;
    }
    void clear() {
        Base::Container::clear();
        m_index.clear();
    }

private:
    // Up to here a search from the front is as fast, and most objects are small.
    static constexpr std::size_t kUnindexed = 24;

    static std::size_t hash(std::string_view key) { return std::hash<std::string_view>{}(key); }

    void rebuild() {
        m_index.clear();
        if (this->size() > kUnindexed) {
            std::uint32_t at = 0;
            for (const auto& entry : *this) {
                m_index.emplace(hash(entry.first), at++);
            }
        }
    }

    // Where the key is, or size().
    std::size_t position(std::string_view key) const {
        if (m_index.empty()) {
            std::size_t at = 0;
            for (; at < this->size() && (*this)[at].first != key; ++at) {
            }
            return at;
        }
        const auto [first, last] = m_index.equal_range(hash(key));
        for (auto entry = first; entry != last; ++entry) {
            if ((*this)[entry->second].first == key) {
                return entry->second;
            }
        }
        return this->size();
    }
    const value_type& operator[](std::size_t at) const { return Base::Container::operator[](at); }

    std::unordered_multimap<std::size_t, std::uint32_t> m_index; // hash of a key to its position
};

} // namespace hs
